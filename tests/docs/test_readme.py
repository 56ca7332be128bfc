"""The lines of docs/commands.md run, on what the README's first command makes, made short."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.recipe.collection import copy

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
LINES = re.search(r"each of these lines works.*?```sh\n(.*?)```", PAGE, re.S)[1].splitlines()
RECIPE = "recipes/digits_sid2a_el.toml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """recipes/ and runs/ as after `distillkit run RECIPE`, with few images."""
    folder = tmp_path_factory.mktemp("readme")
    for path in copy(Path(RECIPE).stem, folder / "recipes"):
        path.write_text(re.sub(r"^kimg = .*", "kimg = 0.256", path.read_text(), flags=re.M))
    assert f"distillkit run {RECIPE}" in README
    assert main(["run", str(folder / RECIPE), "--runs", str(folder / "runs")]) == 0
    return folder


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_page_works(line, finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    program, *words = shlex.split(line)
    if program == "python":
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
        assert done.stdout == "torch.Size([16, 1, 8, 8])\n"
    else:
        assert program == "distillkit" and main(words) == 0, capsys.readouterr().err


def test_the_gate_runs_the_test_command_of_the_readme():
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] in README


def test_the_benchmark_of_a_newcomers_way_knows_the_lines_of_the_readme():
    install, draw, train = runpy.run_path(str(ROOT / "benchmarks/newcomer.py"))["lines"]()
    assert "pip install -c constraints.txt" in install and train.endswith(f"run {RECIPE}")
    assert draw.endswith("sample digits/sid2a_el")


def test_the_table_has_every_command_that_help_has(capsys):
    main(["--help"])
    helped = set(re.findall(r"^  (\w+)  ", capsys.readouterr().out, re.M)) - {"distillkit"}
    assert helped == set(re.findall(r"^\| `distillkit (\w+)", PAGE, re.M))


def test_what_they_wrote_is_there(finished):
    """Runs last: the files that the lines above name."""
    run = "runs/0003-digits_sid2a_el"
    for name in ("compare.html", "sheet.png", "drawn.zip", "exported/student.pt2", f"{run}/report.html"):
        assert (finished / name).is_file(), name
