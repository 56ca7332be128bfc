"""`--smoke` of every recipe, with no network at hand; what recipes share, such as a teacher, is made once."""

from __future__ import annotations

import json
import math
import socket
from pathlib import Path

import attrs
import pytest

from distillkit.builtin.heun import Heun
from distillkit.evaluate.draw import Drawer
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run import finish, runner, smoke
from distillkit.show.screen import QuietScreen
from distillkit.train.state import State

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("smoke")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.installed()


@pytest.fixture(autouse=True)
def alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without assets, and nobody to ask for them."""

    def refuse(*args: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setenv("DISTILLKIT_HOME", str(folder))
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher's row of the picture in 3 calls: in 35 it takes a fifth of the time of this file."""

    def drawer(state: State, teacher: object, catalog: Catalog) -> Drawer | None:
        return Drawer.student(state).teacher(Heun(Heun.Config(steps=2))) if state.teacher else None

    monkeypatch.setattr(finish, "teacher_drawer", drawer)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_through_tiny(path: Path, folder: Path, catalog: Catalog) -> None:
    made: list[Recipe] = []

    def change(recipe: Recipe) -> Recipe:
        small = smoke.small(recipe, folder, catalog)
        if not path.stem.startswith("digits"):  # a sheet of pictures at each look: those of digits are enough
            small = attrs.evolve(small, run=attrs.evolve(small.run, triptych=False))
        made.append(small)
        return small

    outcome = runner.run(path, runs=folder / "runs", screen=QuietScreen(), change=change)[-1]
    rows = [json.loads(line) for line in (outcome.run_dir / "metrics.jsonl").read_text().splitlines()]
    ticks = [row for row in rows if row["what"] == "tick"]
    assert [tick["nimg"] for tick in ticks] == [4, 8] and ticks[-1]["skipped"] == 0
    assert any(key.startswith("loss/") for key in ticks[0])
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    assert bool(outcome.scores.student) == bool(made[-1].evaluate)
    assert (outcome.run_dir / "report.html").is_file() and (outcome.run_dir / "samples" / "comparison.png").is_file()
