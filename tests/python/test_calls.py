"""The commands as functions: what a script or a notebook does with them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

import distillkit
from distillkit.api import InputError, UsageError
from distillkit.recipe import RecipeProblems
from distillkit.recipe.write import toml

RECIPE: dict[str, Any] = {
    "run": {"kimg": 0.064, "batch": 16, "device": "cpu", "threads": 1, "grid": 10},
    "dataset": {"use": "gaussian-mixture", "size": 64},
    "teacher_score": {"use": "gaussian-mixture"},
    "generator": {"init": "scratch", "network": {"use": "mlp", "width": 8, "depth": 2}},
    "sample": {"use": "one-step"},
    "generator_loss": {"use": "sid"},
    "evaluate": [{"use": "mixture", "images": 64}],
}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> distillkit.Result:
    return distillkit.run(RECIPE, runs=tmp_path_factory.mktemp("made") / "found", name="mine", quiet=True)


def test_a_recipe_of_tables_is_run_and_its_numbers_are_there(result: distillkit.Result) -> None:
    assert (result.status, result.path.name) == ("finished", "0001-mine")
    assert result.metrics["mixture/sw2"] > 0 and result.teacher["mixture/sw2"] > 0
    assert result.verdict.level == "look" and result.verdict.text.startswith("behind its teacher: ")
    curve = result.curves["loss/generator"]
    assert curve["kimg"] == [0.016, 0.032, 0.048, 0.064] and len(curve["value"]) == 4
    assert "kimg = 0.064" in result.recipe


def test_the_same_again_is_the_same_run_and_a_key_over_it_another(result: distillkit.Result) -> None:
    runs = result.path.parent
    assert distillkit.run(RECIPE, runs=runs, name="mine", quiet=True).path == result.path
    other = distillkit.run(RECIPE, {"run.kimg": 0.032, "run.seed": 3}, runs=runs, name="mine", quiet=True)
    assert other.path != result.path and "seed = 3" in other.recipe
    compared = distillkit.compare(result, other.path)
    assert len(compared.groups) == 2


def test_images_are_those_of_the_student(result: distillkit.Result) -> None:
    x = result.images(n=5, seed=1)
    assert x.shape == (5, 2, 1, 1) and torch.equal(x, distillkit.load(result.path)(n=5, seed=1))


def test_a_student_is_measured_again(result: distillkit.Result) -> None:
    found = distillkit.evaluate(result, quiet=True)
    assert found == {name: pytest.approx(value) for name, value in result.metrics.items()}


def test_nothing_is_said_where_quiet_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], result: distillkit.Result
) -> None:
    capsys.readouterr()
    distillkit.run(RECIPE, {"run.seed": 5}, runs=tmp_path, quiet=True)
    assert capsys.readouterr().out == ""
    distillkit.run(RECIPE, {"run.seed": 6}, runs=tmp_path)
    assert "kimg" in capsys.readouterr().out


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)


def test_a_notebook_shows_a_table_and_a_picture(result: distillkit.Result) -> None:
    tags = Tags()
    tags.feed(result._repr_html_())
    assert tags.seen.count("img") == 1 and tags.seen.count("tr") == 1 + 3
    assert "0001-mine" in repr(result)


def test_a_shipped_recipe_is_checked_and_planned_by_its_name() -> None:
    found = distillkit.check("gaussians_sid", {"generator_loss.alpha": 1.1})
    assert found["generator_loss"]["alpha"] == 1.1
    stages = distillkit.plan("gaussians_sid", {"run.batch": 32})
    assert stages[-1].recipe.run.batch == 32 and stages[-1].flops > 0


def test_errors_are_exceptions_with_the_words_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(RecipeProblems, match="did you mean batch"):
        distillkit.check("gaussians_sid", {"run.bacth": 3})
    with pytest.raises(RecipeProblems, match="no such file"):
        distillkit.run("no_such_recipe")
    with pytest.raises(UsageError, match="a recipe is a path, a name or a dict, not int"):
        distillkit.check(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"run\.kimg is object"):
        distillkit.check("gaussians_sid", {"run.kimg": object()})
    with pytest.raises(UsageError, match="not a run folder"):
        distillkit.Result(tmp_path)
    with pytest.raises((InputError, UsageError)):
        distillkit.load(tmp_path)


def test_a_package_can_be_called_before_and_after_its_modules_are_imported() -> None:
    code = (
        "import distillkit\n"
        "first = distillkit.run\n"
        "from distillkit.run import runner\n"
        "import distillkit.plan.stages\n"
        "assert callable(first) and callable(distillkit.run) and callable(distillkit.plan)\n"
        "assert distillkit.run.runner is runner and first is distillkit.run\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_notebook_completes_the_arguments_of_a_package_that_is_called() -> None:
    assert list(inspect.signature(distillkit.run).parameters)[:3] == ["recipe", "set", "seed"]
    assert "jobs" in inspect.signature(distillkit.study).parameters


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, distillkit; print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_plan_is_a_table_with_a_verdict_and_a_student_a_line_and_a_sheet() -> None:
    plan = distillkit.plan("gaussians_sid", {"run.batch": 32})
    assert plan.rows[0]["recipe"] == "gaussians_sid" and plan.rows[0]["missing"] == "-"
    assert plan.verdict(8).startswith("fits: ") and plan.verdict(1e-6).startswith("does not fit: ")
    assert repr(plan).splitlines()[0].startswith("recipe ") and plan._repr_html_().count("<tr>") == 2
    student = distillkit.load("digits/sid2a_el")
    assert repr(student) == "Student(digits_sid2a_el: 1 x 8 x 8, 10 labels, NFE 1)"
    assert student.sheet(20).size == student.sheet(20, columns=10).size != student.sheet(20, columns=5).size


def test_a_run_is_called_as_on_the_command_line(result: distillkit.Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(result.path.parents[1])
    Path("runs").symlink_to(result.path.parent.name)
    assert distillkit.Result(1).metrics == distillkit.Result("0001").metrics == result.metrics
    assert distillkit.compare(1).groups[0].label == "mine"
    with pytest.raises(UsageError, match="no run 99 in runs"):
        distillkit.evaluate(99)
    with pytest.raises(UsageError, match="a run is a path, a number or a Result, not float"):
        distillkit.compare(1.5)  # type: ignore[arg-type]


def test_tables_name_recipes_as_seen_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.toml").write_text(toml({"schema": 1, **RECIPE}))
    found = distillkit.check({"extends": "base.toml", "run": {"seed": 4}})
    assert found["run"]["seed"] == 4 and found["run"]["kimg"] == 0.064
    assert distillkit.check({"extends": [str(tmp_path / "base.toml")]})["run"]["seed"] == 0
    network = {"init": {"remove": True}, "network": {"remove": True}}
    child = {"extends": "base.toml", "generator": {"from": "base.toml", **network}}
    assert distillkit.plan(child)[0].recipe.name == "base"
