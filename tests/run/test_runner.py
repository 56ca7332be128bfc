"""The graph of recipes, from the command line: what runs, what is reused, what a run folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.disk.rundir import RunDir
from distillkit.recipe import read
from distillkit.registry import Catalog
from distillkit.run.nodes import graph
from distillkit.testing import tiny_recipe

TEACHER = tiny_recipe("edm", sample={"use": "heun", "steps": 3})
STUDENT = tiny_recipe(
    "sid", teacher_score={"use": "network", "from": "parts/teacher.toml"}, generator=None, generator_loss={"lr": 1e-3}
)
AGAIN = 'schema = 1\nextends = "student.toml"\n[generator]\nfrom = "student.toml"\n'


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A student of a teacher that lives in another folder, and a student of that student: again.toml."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "teacher.toml").write_text(TEACHER)
    (tmp_path / "student.toml").write_text(STUDENT)
    (tmp_path / "again.toml").write_text(AGAIN)
    return tmp_path / "student.toml"


def run(recipe: Path, *more: str, runs: str = "runs") -> int:
    return main(["run", str(recipe), "--runs", str(recipe.parent / runs), *more])


def names(recipe: Path) -> list[str]:
    return sorted(path.name for path in (recipe.parent / "runs").glob("0*"))


def fingerprints(recipe: Path) -> list[str]:
    return [node.fingerprint for node in graph(recipe, (), Catalog.installed(), None)]


def test_parents_run_first_and_once_and_are_reused(recipe: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(recipe) == 0
    assert names(recipe) == ["0001-teacher", "0002-student"]
    before = {path: path.stat().st_mtime_ns for path in recipe.parent.rglob("metrics.jsonl")}
    capsys.readouterr()
    assert run(recipe.with_name("again.toml")) == 0
    assert names(recipe) == ["0001-teacher", "0002-student", "0003-again"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    told = capsys.readouterr().out
    assert f"reuse {recipe.parent / 'runs' / '0001-teacher'}" in told
    assert f"reuse {recipe.parent / 'runs' / '0002-student'}" in told


def test_a_changed_parent_makes_its_children_run_again(recipe: Path) -> None:
    assert run(recipe) == 0
    teacher = recipe.parent / "parts" / "teacher.toml"
    teacher.write_text(TEACHER.replace("steps = 3", "steps = 4"))
    assert run(recipe) == 0
    assert names(recipe) == ["0001-teacher", "0002-student", "0003-teacher", "0004-student"]


def test_a_comment_changes_nothing(recipe: Path) -> None:
    assert run(recipe) == 0
    recipe.write_text("# a remark\n" + STUDENT)
    assert run(recipe) == 0
    assert names(recipe) == ["0001-teacher", "0002-student"]


def test_a_student_starts_from_the_weights_of_its_parent(recipe: Path) -> None:
    assert run(recipe) == 0
    assert run(recipe.with_name("again.toml"), "--set", "run.kimg=0.016", "--set", "generator.optimizer.lr=1e-30") == 0
    runs = recipe.parent / "runs"
    parent = (runs / "0002-student" / "result" / "student.safetensors").read_bytes()
    assert (runs / "0003-again" / "result" / "student.safetensors").read_bytes() == parent


def test_seeds_are_of_the_recipe_asked_for_and_the_whole_plan_comes_first(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(recipe, "--seeds", "1,2") == 0
    assert names(recipe) == ["0001-teacher", "0002-student", "0003-student"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0].rstrip(",") for line in lines[:4]] == ["recipe", "teacher", "student", "student"]
    assert "student, seed 1" in lines[2] and "student, seed 2" in lines[3]
    assert sum(line.startswith("recipe ") for line in lines) == 1
    resolved = [recipe.parent / "runs" / name / "resolved.toml" for name in names(recipe)]
    assert [read(path).run.seed for path in resolved] == [0, 1, 2]
    assert run(recipe, "--seed", "2") == 0
    assert len(names(recipe)) == 3


def test_seeds_are_for_the_parents_too_where_that_is_asked_for(recipe: Path) -> None:
    assert run(recipe, "--seeds", "1,2", "--teacher-seeds") == 0
    assert names(recipe) == ["0001-teacher", "0002-student", "0003-teacher", "0004-student"]
    resolved = [recipe.parent / "runs" / name / "resolved.toml" for name in names(recipe)]
    assert [read(path).run.seed for path in resolved] == [1, 1, 2, 2]
    assert run(recipe, "--seed", "2", "--teacher-seeds") == 0
    assert len(names(recipe)) == 4
    assert run(recipe, "--teacher-seeds") == 2


def test_what_is_set_is_for_the_recipe_asked_for(recipe: Path) -> None:
    assert run(recipe) == 0
    assert run(recipe, "--set", "generator_loss.alpha=0.9") == 0
    assert names(recipe) == ["0001-teacher", "0002-student", "0003-student"]
    assert "alpha = 0.9" in (recipe.parent / "runs" / "0003-student" / "resolved.toml").read_text()


def test_a_run_folder_is_complete(recipe: Path) -> None:
    assert run(recipe.with_name("again.toml")) == 0
    folder = recipe.parent / "runs" / "0003-again"
    assert (folder / "recipe.toml").read_bytes() == recipe.with_name("again.toml").read_bytes()
    assert sorted(path.name for path in (folder / "from").iterdir()) == ["student.toml", "teacher.toml"]
    assert {path.name for path in (folder / "result").iterdir()} == {
        "student.safetensors", "student.json", "metrics.json", "manifest.json"
    }  # fmt: skip
    assert json.loads((folder / "exit.json").read_text())["code"] == 0
    assert (folder / "report.html").stat().st_size > 1000
    assert {"kimg-000000.000.png", "comparison.png"} <= {path.name for path in (folder / "samples").iterdir()}
    assert "kimg" in (folder / "log.txt").read_text()
    facts = json.loads((folder / "result" / "metrics.json").read_text())
    assert facts["nfe"] == 1 and facts["nimg"] == 64 and facts["teacher"]["nfe"] == 5
    assert {"mixture/sw2", "mixture/sw2_floor", "mixture/on_mode"} <= facts["metrics"].keys()
    noted = json.loads((folder / "run.json").read_text())["told"]["curves"]
    assert noted == Catalog.installed().load("generator_loss", "sid").curves
    assert noted["loss/fake_score"] in (folder / "report.html").read_text()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    ticks = [row["nimg"] for row in rows if row["what"] == "tick"]
    assert ticks == sorted(set(ticks)) and ticks[-1] == 64


def test_the_resolved_recipe_is_the_same_recipe(recipe: Path) -> None:
    """It runs on its own, with the recipes in from/, and what it would make is what the folder holds."""
    asked = recipe.with_name("again.toml")
    assert run(asked) == 0
    resolved = recipe.parent / "runs" / "0003-again" / "resolved.toml"
    assert fingerprints(resolved) == fingerprints(asked)
    assert fingerprints(asked)[-1] == RunDir.open(resolved.parent).fingerprint
    assert run(resolved, runs="elsewhere") == 0
    weights = "result/student.safetensors"
    (copy,) = (recipe.parent / "runs" / "0003-again" / "elsewhere").glob("*-resolved")
    assert (copy / weights).read_bytes() == (resolved.parent / weights).read_bytes()


def test_a_run_in_use_is_refused(tiny: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    recipe = tiny()
    assert run(recipe, runs="runs") == 0
    folder = recipe.parent / "runs" / "0001-tiny"
    (folder / "exit.json").unlink()
    with RunDir.open(folder).lock():
        assert run(recipe) == 2
    assert f"{folder} is in use by process" in capsys.readouterr().err


def test_going_on_with_an_edited_run_is_refused(recipe: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(recipe) == 0
    folder = recipe.parent / "runs" / "0002-student"
    resolved = folder / "resolved.toml"
    resolved.write_text(resolved.read_text().replace("alpha = 1.2", "alpha = 1.3"))
    assert main(["run", "--resume", str(folder)]) == 2
    assert "was made with other plugins or an edited recipe" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--resume", "nowhere"], []])
def test_nothing_to_run_is_a_usage_error(more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", *more]) == 2
    assert list(tmp_path.iterdir()) == []
