"""A shared home, and servers with more to say than they promised: nothing is written through a link, or past a size."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from distillkit.api import InputError
from distillkit.assets import folder, locate
from distillkit.assets.get import DOWNLOADING, get

BODY = bytes(range(256)) * 16
SUM = hashlib.sha256(BODY).hexdigest()
ETAG = '"v1"'


def chunked(body: bytes, said: int):
    """An answer in chunks that says another length too; the length is what clients must not believe."""

    def answer(handler):
        handler.protocol_version = "HTTP/1.1"
        handler.reply(b"", Content_Length=str(said), Transfer_Encoding="chunked", Connection="close")
        for at in range(0, len(body), 512):
            handler.wfile.write(b"200\r\n" + body[at : at + 512] + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    return answer


def test_an_answer_that_goes_on_is_stopped_at_its_size(server, rules, tmp_path):
    sizes = []
    server.behaviour = chunked(BODY * 512, 10)  # 2 MB
    with pytest.raises(InputError, match="goes on after as many bytes as it promised"):
        get(server.asset("unknown"), tmp_path, lambda done, total: sizes.append(done), rules)
    assert {file.name for file in tmp_path.iterdir()} <= {DOWNLOADING} and max(sizes, default=0) <= 10


def test_chunks_of_the_size_that_was_promised_arrive(server, rules, tmp_path):
    server.behaviour = chunked(BODY, len(BODY))
    path, _ = get(server.asset(), tmp_path, rules=rules)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("name", ["file.bin.part", "file.bin.part.etag", "assets.lock.new", ".tmp-assets.lock"])
@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_no_link_leads_a_download_elsewhere(server, rules, tmp_path, name, kind):
    where, victim = tmp_path / "assets", tmp_path / "victim"
    where.mkdir()
    victim.write_text("precious")
    (where / name).symlink_to(victim) if kind == "symlink" else os.link(victim, where / name)
    server.behaviour = lambda h: h.reply(ETAG=ETAG)
    path, _ = get(server.asset(), where, rules=rules)
    assert path.read_bytes() == BODY and not path.is_symlink() and victim.read_text() == "precious"


def test_a_link_for_the_list_of_sums_is_refused(server, rules, tmp_path):
    (tmp_path / "sums").write_text("")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/assets.lock").symlink_to(tmp_path / "sums")
    with pytest.raises(InputError, match="is a link"):
        get(server.asset(), tmp_path / "assets", rules=rules)
    assert (tmp_path / "sums").read_text() == ""


def test_an_earlier_attempt_of_somebody_else_is_not_gone_on_with(server, rules, tmp_path, monkeypatch):
    server.behaviour = lambda h: h.reply(BODY[:1000], Content_Length="4096", ETag=ETAG)
    with pytest.raises(InputError, match="again"):
        get(server.asset(), tmp_path, rules=rules)
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    server.behaviour = lambda h: h.reply()
    assert get(server.asset(), tmp_path, rules=rules)[0].read_bytes() == BODY
    assert server.asked[-1][1] is None


@pytest.mark.parametrize("url", ["https://[::1/x", "https://[oops]/x", "http://127.0.0.1:99999/x", "https://a\x1b[2J/"])
def test_a_redirect_to_no_url_is_one_line(server, rules, tmp_path, url):
    server.behaviour = lambda h: h.reply(b"", 302, Location=url)
    with pytest.raises(InputError) as caught:
        get(server.asset(), tmp_path, rules=rules)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("line", [b"HTTP/1.0 404 \x1b[2J\x1b[31mgone", b"HTTP/1.0 xyz\x1b[2J", b"\x1b[2J\r\n"])
def test_a_status_line_never_reaches_the_terminal_as_it_is(server, rules, tmp_path, line):
    server.behaviour = lambda h: h.wfile.write(line + b"\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(InputError) as caught:
        get(server.asset(), tmp_path, rules=rules)
    assert str(caught.value).isprintable()


def test_files_of_others_in_a_shared_home_are_not_used(server, rules, tmp_path, monkeypatch):
    asset = server.asset("unknown")
    path = tmp_path / asset.name
    path.write_bytes(b"theirs")
    assert not folder.foreign(path)
    path.chmod(0o666)
    with pytest.raises(InputError, match=r"file\.bin: another user put it there, or may change it"):
        get(asset, tmp_path, rules=rules)
    path.chmod(0o644)
    if os.getuid() == 0:
        os.chown(path, 4321, 4321)
        with pytest.raises(InputError, match="another user put it there"):
            get(asset, tmp_path, rules=rules)
        monkeypatch.setattr(locate, "wanted", lambda value: [asset])
        with pytest.raises(InputError, match="another user put it there"):
            locate.require(Path("x.toml"), ["x"], tmp_path)
        os.chown(tmp_path, 4321, 4321)
        assert not folder.foreign(path), "whom the folder belongs to could do anything anyway"


def test_the_cache_of_a_shared_home_is_a_folder_of_ones_own(tmp_path, monkeypatch):
    home, own = tmp_path / "home", tmp_path / f"home/user-{os.getuid()}"
    monkeypatch.setenv("DISTILLKIT_HOME", str(home))
    assert folder.cache() == home and not home.exists()
    home.mkdir()
    for mode in (0o755, 0o777):
        home.chmod(mode)
        assert folder.cache() == (home if mode == 0o755 else own)
    assert own.stat().st_mode & 0o777 == 0o700 and folder.folder() == home / "assets"
    if os.getuid() == 0:
        home.chmod(0o775)
        assert folder.cache() == home, "the group has root's name"
        os.chown(home, 0, 4321)
        assert folder.cache() == own
        os.chown(own, 4321, 4321)  # it was there first
        with pytest.warns(UserWarning, match="cannot be written or is another user's"):
            assert home not in folder.cache().parents


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to somebody else")
def test_what_lies_in_a_folder_of_somebody_else_is_theirs(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    inner = tmp_path / "home/converted/sum"
    inner.mkdir(parents=True)
    assert not folder.foreign(inner)
    os.chown(inner.parent, 4321, 4321)
    assert folder.foreign(inner)
    os.chown(tmp_path / "home", 4321, 4321)
    assert not folder.foreign(inner), "whom the home belongs to could do anything anyway"
