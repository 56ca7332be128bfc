"""Curves of shipped recipes behind those of a run: whose, how far, and that they are of today's recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distillkit.disk import typed
from distillkit.registry import Catalog
from distillkit.run.nodes import graph
from distillkit.show import reference
from distillkit.show.report import rendered
from distillkit.show.saved import Saved

SHIPPED = sorted(reference.FOLDER.glob("*.json"))
RECIPES = Path(__file__).parents[2] / "recipes"
SID = json.loads((reference.FOLDER / "digits_sid.json").read_text())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Of digits_sid, half as long."""
    return written(tmp_path, "digits_sid")


def written(path: Path, name: str, extends: str = "x.toml", kimg: float = 8.0, **used: str) -> Path:
    tables = {"dataset": "digits", "generator_loss": "sid", **used}
    resolved = "".join(f'[{table}]\nuse = "{use}"\n' for table, use in tables.items())
    metric = f"[[evaluate]]\n{toml(SID['measured_by'][0])}"
    (path / "resolved.toml").write_text(f"schema = 1\n[run]\nkimg = {kimg}\n{resolved}{metric}")
    (path / "recipe.toml").write_text(f'schema = 1\nextends = ["parts/a.toml", "{extends}"]\n')
    (path / "run.json").write_text(json.dumps({"recipe": name}))
    kinds = {"tick": "loss/generator", "evaluate": "frechet/fd"}
    rows = [{"what": what, "nimg": n, name: float(n)} for n in (1000, 2000) for what, name in kinds.items()]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def toml(table: dict) -> str:
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in plain.items()]
    return "".join(lines) + "".join(f"[evaluate.{key}]\n{toml(value)}" for key, value in inner.items())


def behind(path: Path) -> list[str]:
    """The curves that one is drawn behind."""
    charts = rendered(path).split("<svg viewBox")[1:]
    return [chart.split('aria-label="')[1].split('"')[0] for chart in charts if '<polyline class="behind"' in chart]


def test_a_run_of_a_shipped_recipe_has_its_curves_behind_as_far_as_it_goes(run: Path) -> None:
    assert behind(run) == ["frechet/fd", "loss/generator"]
    found = reference.of(Saved.of(run))
    theirs = SID["training"]["loss/generator"]
    assert found.behind("loss/generator") == [(x, y) for x, y in theirs if x <= 8] != [tuple(p) for p in theirs]
    assert found.label == "digits_sid as shipped" and found.label in rendered(run)


def test_a_recipe_that_extends_one_has_them_too(tmp_path: Path) -> None:
    assert behind(written(tmp_path, "mine", extends="../recipes/digits_sid.toml")) == ["frechet/fd", "loss/generator"]


def test_what_cannot_be_compared_has_none(tmp_path: Path) -> None:
    assert behind(written(tmp_path, "mine")) == []
    assert behind(written(tmp_path, "digits_sid", generator_loss="dmd")) == []
    assert behind(written(tmp_path, "digits_sid", dataset="cifar10")) == []
    assert behind(written(tmp_path, "digits_sid", kimg=0.5)) == []  # shorter than their first ticks
    assert behind(written(tmp_path, "../curves/digits_sid")) == ["frechet/fd", "loss/generator"]


def test_metrics_that_are_measured_otherwise_have_none(run: Path) -> None:
    path = run / "resolved.toml"
    path.write_text(path.read_text().replace("images = 1000", "images = 500"))
    assert behind(run) == ["loss/generator"]


@pytest.mark.parametrize("text", ["", "run = 1\nevaluate = [3]\ndataset = 2\n"])
def test_a_damaged_recipe_has_none(run: Path, text: str) -> None:
    (run / "resolved.toml").write_text(text)
    assert reference.of(Saved.of(run)).curves == {}


def test_a_recipe_file_that_cannot_be_read_extends_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "mine", extends="digits_sid.toml")
    (path / "recipe.toml").write_text("= no TOML")
    assert behind(path) == []


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_curves_are_of_the_recipes_as_they_are_shipped(file: Path) -> None:
    told = json.loads(file.read_text())
    assert (told["recipe"], file.stat().st_size < 10_000) == (file.stem, True)
    nodes = graph(RECIPES / f"{file.stem}.toml", (), Catalog.installed(), None)
    wrong = "made by an older recipe: run it, then benchmarks/shipped_curves.py"
    assert told["fingerprint"] == nodes[-1].fingerprint, wrong
    for part in (told["training"], told["metrics"]):
        for name, points in part.items():
            assert 2 <= len(points) <= 40 and points == sorted(points), name


def test_the_metrics_of_the_shipped_recipe_are_still_measured_so(tmp_path: Path) -> None:
    from distillkit.recipe import read, to_toml

    (tmp_path / "x.toml").write_text(to_toml(read(RECIPES / "digits_sid.toml", (), Catalog.installed())))
    assert reference.measured_by(typed.toml(tmp_path / "x.toml")) == SID["measured_by"]
    assert len(SHIPPED) == 3
