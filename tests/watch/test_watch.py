"""Runs in a browser: what is shown, that it is fresh, and that nobody else sees it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distillkit.cli.main import main
from distillkit.disk import checkpoint
from distillkit.testing import tiny_recipe
from distillkit.watch import look
from distillkit.watch.server import Watch

Get = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run was finished and one was killed after its first checkpoint."""
    place = tmp_path_factory.mktemp("watched")
    here = Path.cwd()
    os.chdir(place)
    try:
        Path("one.toml").write_text(tiny_recipe("sid", teacher_score={"use": "gaussian-mixture"}))
        assert main(["run", "one.toml"]) == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "save", saved_once())
            assert main(["run", "one.toml", "--set", "run.seed=1", "--set", "run.checkpoint_kimg=0.016"]) == 1
    finally:
        os.chdir(here)
    return place


def saved_once() -> Callable[..., Path]:
    save, calls = checkpoint.save, list[int]()

    def once(*args: Any, **keys: Any) -> Path:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("killed")
        return save(*args, **keys)

    return once


@pytest.fixture
def server(folder: Path) -> Iterator[Watch]:
    with Watch(folder / "runs") as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def get(server: Watch) -> Get:
    def ask(path: str = "", token: str | None = None, method: str = "GET", **headers: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{server.server_port}/{server.token if token is None else token}/{path}"
        request = urllib.request.Request(url, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return ask


def test_the_list_has_every_run_with_its_state(get: Get) -> None:
    code, page = get()
    assert code == 200 and page.index("0002-one") < page.index("0001-one")
    assert ">finished<" in page and ">failed<" in page and "0.064 of 0.064 kimg" in page
    assert get("rows")[1] in page  # what is asked for again is what was there


def test_a_run_under_way_is_told_from_one_that_was_killed(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "0001-x"
    run.mkdir()
    (run / "run.json").write_text('{"fingerprint": "f", "recipe": "x"}')
    assert look.look(run).status == "waits"
    (run / "owner.json").write_text("{}")
    assert look.look(run).status == "running"
    old = time.time() - 3600
    os.utime(run / "owner.json", (old, old))
    assert look.look(run).status == "waits"


def test_the_time_left_is_what_the_last_tick_says(tmp_path: Path) -> None:
    run = tmp_path / "0001-x"
    run.mkdir()
    (run / "run.json").write_text('{"fingerprint": "f", "recipe": "x"}')
    (run / "owner.json").write_text("{}")
    (run / "resolved.toml").write_text("[run]\nkimg = 10\n")
    row = {"what": "tick", "nimg": 4000, "kimg": 4.0, "img_per_sec": 100.0, "seconds": 40}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    seen = look.look(run)
    assert (seen.nimg, seen.total, seen.progress, seen.left) == (4000, 10000, 0.4, 60.0)


def test_a_run_has_its_page_before_it_is_finished(folder: Path, get: Get) -> None:
    assert "not finished" not in (folder / "runs/0001-one/report.html").read_text()
    assert (folder / "runs/0002-one/report.html").is_file()  # written at the start and at the evaluation
    code, page = get("runs/0002-one/report")
    assert code == 200 and "ended with code 1" in page


def test_the_page_is_another_when_its_run_is(folder: Path, get: Get) -> None:
    before = get("runs/0001-one/head")[1]
    assert before == get("runs/0001-one/head")[1]
    os.utime(folder / "runs/0001-one/metrics.jsonl")
    assert get("runs/0001-one/head")[1] != before


def test_nothing_is_written_to_show_runs(folder: Path, get: Get) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*")}

    before = state()
    for path in ("", "rows", "runs/0001-one/", "runs/0001-one/head", "runs/0001-one/report", "runs/0002-one/report"):
        assert get(path)[0] == 200
    assert state() == before


@pytest.mark.parametrize("token", ["", "x", "x" * 22])
def test_without_the_token_nothing_is_shown(token: str, get: Get) -> None:
    code, text = get(token=token)
    assert code == 403 and "one" not in text.split()


def test_a_name_of_elsewhere_that_points_here_is_refused(get: Get) -> None:
    assert get(Host="evil.example")[0] == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_only_reads(method: str, get: Get) -> None:
    assert get(method=method)[0] == 501


@pytest.mark.parametrize(
    "path", ["runs/../one.toml", "runs/..%2fone.toml", "runs//report", "runs/0001-one/run.json", "runs/0009-x/", "x"]
)
def test_what_is_no_page_of_a_run_is_not_there(path: str, get: Get) -> None:
    assert get(path)[0] == 404


def test_a_link_out_of_the_folder_is_no_run(folder: Path, tmp_path: Path, get: Get) -> None:
    (tmp_path / "run.json").write_text('{"fingerprint": "f", "recipe": "secret"}')
    link = folder / "runs" / "0099-link"
    link.symlink_to(tmp_path)
    try:
        assert get("runs/0099-link/report")[0] == 404 and "0099-link" not in get()[1]
    finally:
        link.unlink()


def test_a_damaged_run_is_told_and_hides_no_other(folder: Path, get: Get) -> None:
    run = folder / "runs" / "0050-bad"
    run.mkdir()
    (run / "run.json").write_text("{")
    try:
        page = get()[1]
        assert ">damaged<" in page and "0001-one" in page
        code, text = get("runs/0050-bad/report")
        assert code == 500 and "run.json" in text and "Traceback" not in text
    finally:
        (run / "run.json").unlink()
        run.rmdir()


def test_names_are_text_not_markup(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "0001-<b>x"
    run.mkdir()
    (run / "run.json").write_text('{"fingerprint": "f", "recipe": "x"}')
    from distillkit.watch import pages

    assert "<b>" not in pages.rows([look.look(run)])


def test_a_port_that_is_taken_is_one_line(server: Watch, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(folder / "runs"), "--port", str(server.server_port)]) == 2
    assert f"--port {server.server_port}" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "nowhere"]) == 2
    assert "no such folder" in capsys.readouterr().err


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here to look with")
@pytest.mark.parametrize("path", ["", "runs/0001-one/"])
def test_a_browser_shows_it_and_refuses_nothing_of_it(path: str, server: Watch, tmp_path: Path) -> None:
    """Its own policy must let its styles, its script and the report in; Chromium says what it kept out."""
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={tmp_path}", "--virtual-time-budget=8000", "--dump-dom", server.url() + path,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "0001-one" in done.stdout and "finished" in done.stdout
    assert "Content Security Policy" not in done.stderr and "Uncaught" not in done.stderr
    assert 'class="lost"' not in done.stdout and "lost" not in done.stdout.partition("<body")[2].partition(">")[0]
