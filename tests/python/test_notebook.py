"""In a notebook a run shows plain lines and one bar that is written anew; no control characters."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import distillkit
from distillkit.python import screens
from distillkit.show.screen import QuietScreen

RECIPE: dict[str, Any] = {
    "run": {"kimg": 0.064, "batch": 16, "device": "cpu", "threads": 1, "grid": 4},
    "dataset": {"use": "gaussian-mixture", "size": 64},
    "generator": {"init": "scratch", "network": {"use": "mlp", "width": 8, "depth": 1}},
    "sample": {"use": "heun"},
    "generator_loss": {"use": "edm"},
}


class Cell:
    """What a cell was told to show: elements, by the place that each was given."""

    def __init__(self) -> None:
        self.places: list[list[str]] = []

    def display(self, shown: str, display_id: bool) -> SimpleNamespace:
        assert display_id
        self.places.append([shown])
        return SimpleNamespace(update=self.places[-1].append)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """An IPython that runs in a kernel, as far as we ask it."""
    made = Cell()
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    display.HTML, display.display = str, made.display  # type: ignore[attr-defined]
    ipython.display = display  # type: ignore[attr-defined]
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(screens, "EVERY", 0.0)
    return made


def test_a_run_in_a_notebook_has_one_bar_and_plain_lines(
    cell: Cell, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    distillkit.run(RECIPE, runs=tmp_path)
    said = capsys.readouterr().out
    assert "kimg" in said and said.isascii() and "\x1b" not in said and "\r" not in said
    (looks,) = cell.places
    assert any("64 of 64 img" in look and 'value="1.0000"' in look for look in looks)
    assert looks[-1] == "<span></span>"


def test_a_study_in_a_notebook_has_a_bar_of_its_runs(cell: Cell, tmp_path: Any) -> None:
    distillkit.study({"seeds": [0], "cell": [{"recipe": {**RECIPE, "evaluate": [{"use": "mixture", "images": 64}]}}]},
                     runs=tmp_path)  # fmt: skip
    (looks,) = cell.places
    assert "study, 1 of 1 runs" in looks[-2] and looks[-1] == "<span></span>"


def test_bars_within_each_other_are_one_piece_and_names_are_escaped(cell: Cell) -> None:
    screen = screens.chosen(quiet=False)
    with screen.progress("a <b>", 2000, "img") as outer:
        outer.advance(500, 2.0)
        with screen.progress("inner", 4, "runs") as inner:
            inner.advance(1)
    (looks,) = cell.places
    assert "a &lt;b&gt;, 0.5 of 2 kimg, 6 s left" in looks[1]
    assert looks[3].count("<progress") == 2 and "inner, 1 of 4 runs" in looks[3]


def test_of_work_whose_end_nobody_knows_the_bar_only_moves(cell: Cell) -> None:
    with screens.Notebook().progress("waiting", None, ""):
        pass
    (looks,) = cell.places
    assert looks[0] == '<div><progress aria-label="waiting"></progress> waiting</div>'


def test_a_bar_is_not_sent_more_often_than_people_see(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screens, "EVERY", 1e9)
    with screens.Notebook().progress("x", 10, "img") as bar:
        for _ in range(10):
            bar.advance(1)
    assert sum(map(len, cell.places)) <= 2


def test_elsewhere_there_are_lines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace()))
    assert type(screens.chosen(quiet=False)) is QuietScreen  # IPython on a terminal
    monkeypatch.delitem(sys.modules, "IPython")
    assert type(screens.chosen(quiet=False)) is QuietScreen
    assert type(screens.chosen(quiet=True)) is screens.Silent
