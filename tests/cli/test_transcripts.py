"""What commands print, at 80 columns, beside what they printed when somebody last looked at it.

`REWRITE=1 pytest tests/cli/test_transcripts.py` writes tests/cli/transcripts/ anew: read the difference before you
commit it. Numbers are # there, and a few words too: they differ from machine to machine.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.testing import tiny_recipe

STORED = Path(__file__).with_name("transcripts")
COLUMNS = 80
# Run in this order: each finds what those before it left.
COMMANDS = {
    "check": ["check", "student.toml"],
    "check_teacher": ["check-teacher", "first.toml"],
    "run": ["run", "student.toml"],
    "run_again": ["run", "student.toml"],
    "eval": ["eval", "runs/0002-student", "--set", "evaluate.0.images=64"],
    "compare": ["compare", "runs/0001-first", "runs/0002-student"],
    "check_done": ["check", "student.toml", "--set", "run.kimg=0.2"],
    "plugins": ["plugins", "--kind", "sample"],
    "plugins_name": ["plugins", "few-step"],
    "assets": ["assets"],
}
NUMBER = r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?"
VERDICT = re.compile(
    r"^(healthy|behind its teacher|finished, and nothing looked at its health): .*?(?=\n\n)", re.MULTILINE | re.DOTALL
)
WORDS = (
    (re.compile(r"\b\d+ (?:s|min|h|d)\b(?: \d\d? (?:s|min|h)\b)?"), "# s"),  # 3 min 05 s
    (re.compile(rf"{NUMBER} [kMGT]?B\b"), "# B"),
    (re.compile(r"eval-[\d-]+\.json"), "eval-#.json"),
    (re.compile(r"\b(distillkit(?:-\w+)?) \d+\.\d+\.\w+"), r"\1 #"),
    (re.compile(rf"^(until \S+ .) {NUMBER}"), r"\1 #"),
)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What each command prints in a folder with two small recipes, the second of which begins with the first."""
    here, before = tmp_path_factory.mktemp("transcripts"), Path.cwd()
    often = {"use": "mixture", "images": 128, "every_kimg": 0.08}
    first = tiny_recipe("sid", teacher_score={"use": "gaussian-mixture"}, run={"kimg": 0.16}, evaluate=[often])
    (here / "first.toml").write_text(first)
    (here / "student.toml").write_text(
        'schema = 1\nextends = "first.toml"\n[generator]\nfrom = "first.toml"\n[generator_loss]\nuse = "sid2a"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(COLUMNS))
        patch.setenv("DISTILLKIT_HOME", str(here / "home"))
        patch.setenv("NO_COLOR", "1")
        patch.chdir(here)
        yield {name: _said(argv, here) for name, argv in COMMANDS.items()}
    assert Path.cwd() == before


def _said(argv: list[str], here: Path) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(argv) == 0
    return out.getvalue().replace(str(here), "HERE")


def same_everywhere(name: str, text: str) -> str:
    """Without what a clock, a disk or another processor changes."""
    measured = name.startswith(("run", "eval", "compare", "check_teacher"))
    lines = [line.rstrip() for line in VERDICT.sub(r"\1: ...", text).splitlines()]
    return "".join(f"{_worded(_measured(line) if measured else line)}\n" for line in lines)


def _worded(line: str) -> str:
    for pattern, instead in WORDS:
        line = pattern.sub(instead, line)
    return line


def _measured(line: str) -> str:
    """A row with # for its numbers; closed up where its columns are as wide as these."""
    if tick := re.match(rf"( *{NUMBER})( .*\d:\d\d .*)", line):  # whose columns are of fixed widths
        return tick[1] + re.sub(r"\S+", lambda found: "#".rjust(len(found[0])), tick[2])
    if re.match(r" *(kimg +)?metric ", line) or re.search(r"[\u2191\u2193\u2500\u2265]|  seeds  ", line):
        line = re.sub(rf"(?<=  ){NUMBER}(?: \u00b1 {NUMBER})?(?=  |$)", "#", line)
        return re.sub("\u2500+", "\u2500", re.sub(r"(?<=\S)  +", "  ", line).lstrip())
    if re.search(rf"\S  +(?:\u2264 )?{NUMBER}(?: \(\d+ %\))?(?:  |$)", line):
        return re.sub(rf"  +(?:\u2264 )?{NUMBER}(?: \(\d+ %\))?(?=  |$)", "  #", line)
    return line


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_what_it_did_when_somebody_looked(name: str, printed: dict[str, str]) -> None:
    path, found = STORED / f"{name}.txt", same_everywhere(name, printed[name])
    told = f"$ COLUMNS={COLUMNS} distillkit {' '.join(COMMANDS[name])}\n{found}"
    if os.environ.get("REWRITE"):
        path.write_text(told, encoding="utf-8")
    assert told == path.read_text(encoding="utf-8"), "look at it, then REWRITE=1 pytest tests/cli/test_transcripts.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_is_wider_than_80_columns_but_a_url_that_is_not_broken(name: str, printed: dict[str, str]) -> None:
    wide = [line.rstrip() for line in printed[name].splitlines() if len(line.rstrip()) > COLUMNS]
    assert [line for line in wide if not re.fullmatch(r" *https://\S+", line)] == []


def test_a_pipe_gets_no_control_characters_and_one_line_for_each_tick(printed: dict[str, str]) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x9b]", "".join(printed.values()))
    assert len(re.findall(r"^ *0\.160 .*\d:\d\d ", printed["run"], re.MULTILINE)) == 2  # the last of each run
