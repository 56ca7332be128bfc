"""Downloads from a server that truncates, stalls, redirects, lies and breaks off: one line each, and nothing half."""

from __future__ import annotations

import hashlib

import attrs
import pytest
from filelock import FileLock

from distillkit.api import InputError
from distillkit.assets.fetch import Rules
from distillkit.assets.folder import locked
from distillkit.assets.get import DOWNLOADING, get
from distillkit.assets.table import hosts

BODY = bytes(range(256)) * 16
SUM = hashlib.sha256(BODY).hexdigest()
ETAG = '"v1"'


def refused(server, where, rules, match, sha256=SUM):
    """The download fails with a line, leaves no file under the asset's name, and none in the lock."""
    with pytest.raises(InputError, match=match) as error:
        get(server.asset(sha256), where, rules=rules)
    assert "\n" not in str(error.value) and error.value.exit_code == 3
    assert not (where / "file.bin").exists() and not locked(where)
    return where / "file.bin.part"


def fetched(server, where, rules, sha256=SUM):
    path, there = get(server.asset(sha256), where, rules=rules)
    assert path.read_bytes() == BODY and not there
    assert {file.name for file in where.iterdir()} - {DOWNLOADING} == {"assets.lock", "file.bin"}
    assert locked(where) == {"file.bin": SUM}


@pytest.mark.parametrize("sha256", [SUM, SUM[:8], "unknown"])
def test_a_download_arrives_whole_and_is_noted(server, rules, tmp_path, sha256):
    steps = []
    path, _ = get(server.asset(sha256), tmp_path / "new", lambda done, total: steps.append((done, total)), rules)
    assert path.read_bytes() == BODY and locked(tmp_path / "new") == {"file.bin": SUM}
    assert steps[-1] == (4096, 4096)


def test_what_is_there_is_checked_and_not_downloaded_again(server, rules, tmp_path):
    fetched(server, tmp_path, rules)
    assert get(server.asset(), tmp_path, rules=rules) == (tmp_path / "file.bin", True)
    assert len(server.asked) == 1
    (tmp_path / "file.bin").write_bytes(b"another")
    with pytest.raises(InputError, match=r"sha256 is .* the table says"):
        get(server.asset(), tmp_path, rules=rules)


def test_fault_truncated_goes_on_where_it_ended(server, rules, tmp_path):
    server.behaviour = lambda h: h.reply(BODY[:1000], Content_Length="4096", ETag=ETAG)
    part = refused(server, tmp_path, rules, "ended after 1000 of 4096 bytes.*again to go on|IncompleteRead")
    assert part.read_bytes() == BODY[:1000]
    server.behaviour = lambda h: h.reply(BODY[1000:], 206, Content_Range="bytes 1000-4095/4096", ETag=ETAG)
    fetched(server, tmp_path, rules)
    assert server.asked[-1] == ("/file.bin", "bytes=1000-", ETAG)


def test_without_an_etag_nobody_knows_whether_it_is_the_same_file_so_it_starts_over(server, rules, tmp_path):
    server.behaviour = lambda h: h.reply(BODY[:1000], Content_Length="4096", ETag='W/"weak"')
    refused(server, tmp_path, rules, "again")
    server.behaviour = lambda h: h.reply()
    fetched(server, tmp_path, rules)
    assert server.asked[-1][1] is None


def test_a_file_that_changed_meanwhile_is_downloaded_anew(server, rules, tmp_path):
    server.behaviour = lambda h: h.reply(b"x" * 1000, Content_Length="4096", ETag='"old"')
    refused(server, tmp_path, rules, "again")
    server.behaviour = lambda h: h.reply(ETag=ETAG)  # If-Range does not hold: 200 and all of it
    fetched(server, tmp_path, rules, "unknown")


def test_fault_resume_mismatch_starts_over(server, rules, tmp_path):
    server.behaviour = lambda h: h.reply(BODY[:1000], Content_Length="4096", ETag=ETAG)
    refused(server, tmp_path, rules, "again")
    server.behaviour = lambda h: h.reply(BODY[900:], 206, Content_Range="bytes 900-4095/4096", ETag=ETAG)
    part = refused(server, tmp_path, rules, "begins at another")
    assert not part.exists()
    server.behaviour = lambda h: h.reply()
    fetched(server, tmp_path, rules)


def test_fault_more_was_there_than_the_server_has(server, rules, tmp_path):
    server.behaviour = lambda h: h.reply(BODY[:1000], Content_Length="4096", ETag=ETAG)
    refused(server, tmp_path, rules, "again")
    server.behaviour = lambda h: h.reply(b"", 416)
    assert not refused(server, tmp_path, rules, "416").exists()


def test_fault_stalling(server, rules, tmp_path):
    server.behaviour = lambda h: server.release.wait(5)
    refused(server, tmp_path, attrs.evolve(rules, timeout=0.2), "timed out")


def test_fault_stalling_in_the_middle(server, rules, tmp_path):
    def half(handler):
        handler.reply(BODY[:2000], Content_Length="4096")
        handler.wfile.flush()
        server.release.wait(5)

    server.behaviour = half
    refused(server, tmp_path, attrs.evolve(rules, timeout=0.2), "timed out")


def test_fault_redirect_to_another_host(server, rules, tmp_path):
    server.behaviour = lambda h: h.reply(b"", 302, Location=f"http://localhost:{server.server_port}/elsewhere")
    refused(server, tmp_path, rules, "localhost.*not https")
    server.behaviour = lambda h: h.reply(b"", 302, Location="https://example.org/file.bin")
    refused(server, tmp_path, rules, "example.org is none of the hosts")
    assert {path for path, *_ in server.asked} == {"/file.bin"}


def test_fault_redirect_to_http(server, rules, tmp_path):
    server.behaviour = lambda h: h.reply(b"", 301, Location="http://nvlabs-fi-cdn.nvidia.com/file.bin")
    refused(server, tmp_path, attrs.evolve(rules, hosts=rules.hosts | hosts()), "not https")


def test_fault_redirect_to_a_file_of_this_machine(server, rules, tmp_path):
    server.behaviour = lambda h: h.reply(b"", 302, Location="file:///etc/hostname")
    refused(server, tmp_path, rules, "not https|refused|302")


def test_a_redirect_within_the_host_is_followed(server, rules, tmp_path):
    def once(handler):
        if handler.path == "/file.bin":
            handler.reply(b"", 302, Location="/moved.bin")
        else:
            handler.reply()

    server.behaviour = once
    fetched(server, tmp_path, rules)


def test_fault_wrong_hash_removes_the_file(server, rules, tmp_path):
    part = refused(server, tmp_path, rules, "sha256 is .* the table says 00000000", sha256="00000000")
    assert not part.exists()


def test_fault_another_file_than_on_first_use(server, rules, tmp_path):
    fetched(server, tmp_path, rules, "unknown")
    (tmp_path / "file.bin").unlink()
    server.behaviour = lambda h: h.reply(b"replaced")
    with pytest.raises(InputError, match=r"assets\.lock says"):
        get(server.asset("unknown"), tmp_path, rules=rules)
    assert {file.name for file in tmp_path.iterdir()} - {DOWNLOADING} == {"assets.lock"}


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_fault_200_with_a_web_page(server, rules, tmp_path, kind):
    server.behaviour = lambda h: h.reply(b"\n<!DOCTYPE html><p>Sign in", Content_Type=kind)
    assert not refused(server, tmp_path, rules, "a web page", sha256="unknown").exists()


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_fault_refused_by_the_server(server, rules, tmp_path, status):
    server.behaviour = lambda h: h.reply(b"no", status)
    assert not refused(server, tmp_path, rules, f"the server answers {status}").exists()


def test_fault_too_large(server, rules, tmp_path):
    server.behaviour = lambda h: h.reply(BODY * 3)
    assert not refused(server, tmp_path, rules, "12288 bytes, at most 10000 were expected").exists()


def test_fault_no_length(server, rules, tmp_path):
    server.behaviour = lambda h: h.reply(Content_Length="None")
    refused(server, tmp_path, rules, "does not say how long")


def test_fault_connection_reset(server, rules, tmp_path):
    server.behaviour = lambda h: h.reset()
    refused(server, tmp_path, rules, "again to go on")


def test_fault_no_http_at_all(server, rules, tmp_path):
    server.behaviour = lambda h: h.wfile.write(b"SSH-2.0-OpenSSH\r\n")
    refused(server, tmp_path, rules, "again to go on")


def test_fault_nobody_listens(server, rules, tmp_path):
    asset = server.asset()
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match="Connection refused"):
        get(asset, tmp_path, rules=rules)


def test_offline_asks_nobody(server, rules, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLKIT_OFFLINE", "1")
    refused(server, tmp_path, rules, "DISTILLKIT_OFFLINE is set; put what http://127.0.0.1:.* at ")
    assert not server.asked


def test_http_is_for_tests_alone(server, tmp_path):
    refused(server, tmp_path, None, "not https")
    refused(server, tmp_path, Rules(hosts=frozenset({"127.0.0.1"}), limit=10_000), "not https")
    assert not server.asked


def test_a_damaged_lock_is_named_with_its_line(server, rules, tmp_path):
    (tmp_path / "assets.lock").write_text(f"{SUM}  other.bin\nnonsense\n")
    with pytest.raises(InputError, match=r"assets\.lock:2: must be a sha256"):
        get(server.asset(), tmp_path, rules=rules)


def test_one_download_at_a_time(server, rules, tmp_path):
    with FileLock(tmp_path / DOWNLOADING):
        refused(server, tmp_path, rules, "another download is under way")
    assert not server.asked
    fetched(server, tmp_path, rules)
