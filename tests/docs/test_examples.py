"""What is in examples/: notebooks, cell by cell and with few images, and a script with few steps."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from distillkit.networks import imported
from distillkit.registry import Catalog

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
USED = {"load", "check", "plan", "run", "compare", "evaluate", "study", "DistillkitError"}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def cells(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def as_shown(cell: str) -> str:
    """The cell with its last expression kept, as a notebook shows it."""
    tree = ast.parse(cell)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        shown = ast.Call(ast.Name("shown"), [last.value], [])
        tree.body[-1] = ast.Expr(shown)
    return ast.unparse(ast.fix_missing_locations(tree))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_its_cells_run_in_order_and_show_what_a_notebook_can(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "\n".join(as_shown(cell) for cell in cells(path))
    assert "kimg = 64" in text
    (tmp_path / "cells.py").write_text(text.replace("kimg = 64", "kimg = 0.512"))
    shown: list[Any] = []
    runpy.run_path(str(tmp_path / "cells.py"), {"shown": shown.append})
    assert "did you mean kimg" in capsys.readouterr().out
    rich = [one for one in shown if hasattr(one, "_repr_html_")]
    assert [type(one).__name__ for one in rich] == ["Plan", "Result", "Result", "Comparison", "StudyResult"]
    assert all("<table>" in one._repr_html_() for one in rich) and all(len(repr(one)) < 1000 for one in shown)
    assert sum("<img " in one._repr_html_() for one in rich) == 4
    assert type(shown[0]).__name__ == "Image" and shown[0].size[0] > 100
    assert [row["state"] for row in shown[-1]] == ["reused", "finished"]


def test_the_lines_of_the_page_on_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = re.search(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.S)
    assert lines
    short = lines[1].replace('"run.kimg": 64', '"run.kimg": 0.512').replace('"kimg": 64', '"kimg": 0.512')
    (tmp_path / "lines.py").write_text(short)
    made = runpy.run_path(str(tmp_path / "lines.py"))
    assert made["x"].shape == (16, 1, 8, 8) and (tmp_path / "sheet.png").is_file()
    assert [run.path.name for run in (made["result"], made["other"])] == ["0001-gaussians_sid", "0002-another"]


def test_they_are_small_and_keep_no_outputs() -> None:
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert path.stat().st_size < 20_000
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in read(path)["cells"] if
                   cell["cell_type"] == "code")  # fmt: skip


def test_they_use_nothing_but_the_functions_of_the_package() -> None:
    text = "\n".join(cells(EXAMPLES / "first_steps.ipynb"))
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imported] == ["import distillkit"]
    assert set(re.findall(r"distillkit\.(\w+)", text)) == USED


@pytest.mark.skipif(not importlib.util.find_spec("diffusers"), reason="diffusers is not installed")
def test_the_teacher_of_diffusers_make_is_a_folder_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["digits_ddpm.py", str(tmp_path / "digits_ddpm"), "--steps", "2"])
    runpy.run_path(str(EXAMPLES / "digits_ddpm.py"), run_name="__main__")
    assert "0.76 M parameters" in capsys.readouterr().out
    network = imported.load_network(tmp_path / "digits_ddpm", Catalog.installed())
    assert (network.channels, network.resolution, network.label_dim) == (1, 8, 10)
    assert network(torch.zeros(2, 1, 8, 8), 1.0, torch.eye(10)[:2]).isfinite().all()
    text = (EXAMPLES / "digits_ddpm.py").read_text(encoding="utf-8")
    imports = {name.split(".")[0] for name in re.findall(r"^(?:from|import) (\S+)", text, re.M)}
    assert "distillkit" not in imports, "it shows how a stranger's teacher comes about"
