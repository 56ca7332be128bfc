"""Nothing that a stranger named or wrote moves the cursor of who reads about it: each place that let it through."""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import safetensors.torch
import torch
from attrs import evolve
from rich.text import Text

from distillkit.api import DistillkitError
from distillkit.api.printable import printable
from distillkit.cli.console import PlainConsole, console
from distillkit.cli.main import main
from distillkit.cli.plain import forgive, plain_streams
from distillkit.disk import manifest, typed
from distillkit.registry import Catalog, Offer
from distillkit.run.logged import LoggedScreen
from distillkit.show.screen import QuietScreen
from distillkit.testing import tiny_recipe

EVIL = "\x1b[31m\x1b]0;owned\x07\x9b2J\u202e\rx"
OBEYED = ("\x1b", "\x07", "\x9b", "\u202e", "\r")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("escapes")
    (folder / "tiny.toml").write_text(tiny_recipe("sid", teacher_score={"use": "gaussian-mixture"}))
    assert main(["run", str(folder / "tiny.toml"), "--runs", str(folder / "runs")]) == 0
    return folder / "runs" / "0001-tiny"


def edited(path: Path, **facts: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    if path.parent.name == "result":
        manifest.seal(path.parent)


def recipe_of_that_name(run: Path) -> list[str]:
    path = run.parent / f"{EVIL}.toml"
    path.write_text("schema = 1\n")
    return ["check", str(path)]


def recipe_that_extends_such_a_name(run: Path) -> list[str]:
    path = run.parent / "child.toml"
    path.write_text(f"schema = 1\nextends = {json.dumps(EVIL + '.toml')}\n")
    return ["check", str(path)]


def name_of_the_run(run: Path) -> list[str]:
    edited(run / "run.json", recipe=EVIL)
    return ["compare", str(run), "--out", str(run / "compare.html")]


def name_of_the_run_in_its_report(run: Path) -> list[str]:
    edited(run / "run.json", recipe=EVIL, versions={EVIL: EVIL})
    return ["report", str(run)]


def words_of_the_metrics(run: Path) -> list[str]:
    edited(run / "result" / "metrics.json", note=EVIL, remarks=[EVIL], protocol={EVIL: {EVIL: EVIL}})
    return ["eval", str(run)]


def count_of_calls(run: Path) -> list[str]:
    edited(run / "result" / "metrics.json", nfe=EVIL)
    return ["eval", str(run)]


def name_of_a_tensor(run: Path) -> list[str]:
    path = run / "result" / "student.safetensors"
    safetensors.torch.save_file({**safetensors.torch.load_file(path), EVIL: torch.ones(1)}, path)
    manifest.seal(path.parent)
    return ["sample", str(run), "--out", str(run / "x.png")]


def argument(run: Path) -> list[str]:
    return ["sample", str(run), "--device", EVIL]


def folder_that_is_no_run(run: Path) -> list[str]:
    return ["report", str(run.parent / EVIL)]


def option(run: Path) -> list[str]:
    return [EVIL]


ACTS = '<form action="//e"><meta http-equiv="refresh" content="0"><a href="javascript:1"><base href="//e"><script>'


class Tags(HTMLParser):
    """Collects what a page could do besides showing."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        refresh = tag == "meta" and any(value == "refresh" for _, value in attrs)
        elsewhere = tag == "a" and not any(name == "href" and (value or "").startswith("#") for name, value in attrs)
        acts = refresh or elsewhere or tag in ("form", "base", "script", "iframe", "input", "link", "object")
        self.found += [tag] * (acts or any(name.startswith("on") for name, _ in attrs))


def test_pages_do_nothing_whatever_a_run_says(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "0001-tiny"
    shutil.copytree(finished, run)
    edited(run / "run.json", recipe=ACTS, versions={ACTS: ACTS}, created=ACTS)
    edited(run / "exit.json", reason=ACTS)
    old = typed.json_object(run / "result" / "metrics.json")
    named = {f"{ACTS}/x": 1.0, **old["metrics"]}
    edited(run / "result" / "metrics.json", note=ACTS, remarks=[ACTS], protocol={ACTS: {ACTS: ACTS}}, metrics=named)
    assert main(["report", str(run)]) == 0
    assert main(["compare", str(run), "--out", str(run / "compare.html")]) == 0
    for page in run.glob("*.html"):
        tags = Tags()
        tags.feed(page.read_text())
        assert tags.found == ["script"], page  # ours, the only one that the page's policy lets run


def test_links_among_the_pictures_are_left_out(finished: Path, tmp_path: Path) -> None:
    run, secret = tmp_path / "runs" / "0001-tiny", tmp_path / "secret.png"
    shutil.copytree(finished, run)
    secret.write_bytes(b"secret of another folder")
    for name in ("kimg-999999.000.png", "other.png"):
        (run / "samples" / name).symlink_to(secret)
    (run / "figures").mkdir(exist_ok=True)
    (run / "figures" / "x.png").symlink_to(secret)
    assert main(["report", str(run)]) == 0
    assert main(["compare", str(run), "--out", str(run / "compare.html")]) == 0
    told = base64.b64encode(secret.read_bytes()).decode()
    assert [page.name for page in run.glob("*.html") if told in page.read_text()] == []


@pytest.mark.parametrize("prepare", [
    recipe_of_that_name, recipe_that_extends_such_a_name, name_of_the_run, name_of_the_run_in_its_report,
    words_of_the_metrics, count_of_calls, name_of_a_tensor, argument, folder_that_is_no_run, option,
])  # fmt: skip
def test_no_escape_reaches_the_terminal(
    finished: Path, prepare: Callable[[Path], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "0001-tiny"
    shutil.copytree(finished, run)
    code = main(prepare(run))
    told = capsys.readouterr()
    assert code in (0, 2, 3) and told.out + told.err
    assert [c for c in OBEYED if c in told.out + told.err] == []
    pages = "".join(path.read_text() for path in run.rglob("*.html"))
    assert [c for c in OBEYED if c in pages] == []


def test_a_plugin_that_nobody_named_is_listed_without_its_escapes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = Catalog.installed()
    evil = Offer("sample", EVIL, f"{EVIL}:{EVIL}", EVIL, EVIL)
    monkeypatch.setattr(Catalog, "installed", lambda: evolve(installed, offers=(*installed.offers, evil)))
    assert main(["plugins"]) == 0
    told = capsys.readouterr()
    assert [c for c in OBEYED if c in told.out + told.err] == []


def test_lines_of_the_log_are_printable(tmp_path: Path) -> None:
    with plain_streams(), LoggedScreen(QuietScreen(), tmp_path / "log.txt") as screen:
        screen.line(EVIL)
        screen.warn(EVIL)
    assert [c for c in OBEYED if c in (tmp_path / "log.txt").read_bytes().decode()] == []


def test_colours_of_ours_stay(capsys: pytest.CaptureFixture[str]) -> None:
    out = PlainConsole(file=sys.stdout, force_terminal=True, color_system="standard")
    out.print(Text(f"bold {EVIL}", "bold"))
    told = capsys.readouterr().out
    assert told.startswith("\x1b[1mbold ") and told.count("\x1b") == 2
    with plain_streams():
        console().print("plain")


def test_an_error_is_printable_in_a_notebook_too() -> None:
    assert str(DistillkitError(f"no {EVIL}")) == f"no {printable(EVIL)}"
    assert printable("tab\tnewline\nUmlaut \u00e4 \u4e2d") == "tab\tnewline\nUmlaut \u00e4 \u4e2d"


def test_a_terminal_that_has_no_arrows_gets_letters_like_them(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file, encoding="latin-1", write_through=True))
    forgive()
    console().print("fd \u2193 1 \u00b1 2")
    assert file.getvalue() == b"fd v 1 +- 2\n"
