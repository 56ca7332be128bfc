"""`--smoke` of every recipe, with no network at hand; what recipes share, such as a teacher, is made once."""

from __future__ import annotations

import json
import math
import socket
from pathlib import Path

import pytest

from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run import runner, smoke
from distillkit.show.screen import QuietScreen

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("smoke")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.installed()


@pytest.fixture(autouse=True)
def alone(folder: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without assets, and nobody to ask for them."""
    monkeypatch.setattr(Catalog, "installed", lambda: catalog)  # looking for plugins takes a tenth of the time

    def refuse(*args: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setenv("DISTILLKIT_HOME", str(folder))
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_through_tiny(path: Path, folder: Path, catalog: Catalog) -> None:
    made: list[Recipe] = []

    def change(recipe: Recipe) -> Recipe:
        made.append(smoke.small(recipe, folder, catalog))
        return made[-1]

    outcome = runner.run(path, runs=folder / "runs", screen=QuietScreen(), change=change)[-1]
    rows = [json.loads(line) for line in (outcome.run_dir / "metrics.jsonl").read_text().splitlines()]
    ticks = [row for row in rows if row["what"] == "tick"]
    assert [tick["nimg"] for tick in ticks] == [4, 8] and ticks[-1]["skipped"] == 0
    assert any(key.startswith("loss/") for key in ticks[0])
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    assert bool(outcome.scores.student) == bool(made[-1].evaluate)
    assert (outcome.run_dir / "report.html").is_file() and (outcome.run_dir / "samples" / "comparison.png").is_file()
