"""distillkit.study: many runs from tables or a file, as one result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import distillkit
from distillkit.api import UsageError
from distillkit.recipe import RecipeProblems
from distillkit.recipe.write import toml

RECIPE: dict[str, Any] = {
    "run": {"kimg": 0.064, "batch": 16, "device": "cpu", "grid": 4},
    "dataset": {"use": "gaussian-mixture", "size": 64},
    "generator": {"init": "scratch", "network": {"use": "mlp", "width": 8, "depth": 1}},
    "sample": {"use": "heun"},
    "generator_loss": {"use": "edm"},
    "evaluate": [{"use": "mixture", "every_kimg": 0.032, "images": 64}],
}
TABLES: dict[str, Any] = {
    "seeds": (0, 1),
    "cell": [
        {"recipe": "base.toml"},
        {"label": "wide <b>", "recipe": RECIPE, "set": {"generator.network.width": 16}},
    ],
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "base.toml").write_text(toml({"schema": 1, **RECIPE}))
    return folder


@pytest.fixture(autouse=True)
def there(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)


def test_a_study_of_tables_is_run_and_its_numbers_are_there(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = distillkit.study(TABLES, name="mine", jobs=2)
    said = capfd.readouterr()
    assert "4 runs, 4 of them compared" in said.out and said.out.count("finished ") == 4 and said.err == ""
    assert "\x1b" not in said.out and "\r" not in said.out
    assert [(row["cell"], row["seed"], row["state"]) for row in found.rows] == [
        ("base", 0, "finished"), ("base", 1, "finished"), ("wide <b>", 0, "finished"), ("wide <b>", 1, "finished"),
    ]  # fmt: skip
    assert all(row["mixture/sw2"] > 0 and Path(row["run"]).is_dir() for row in found.rows)
    assert found.runs["wide <b>, seed 1"].path.name.endswith("-wide_b_") and found.failed == ()
    final = found.tables["final values"]
    assert [row[""] for row in final][:2] == ["base", "wide <b>"] and "\N{PLUS-MINUS SIGN}" in final[0]["sw2 \u2193"]
    assert found.page == Path("runs/study-mine/compare.html") and found.page.is_file() and found.json.is_file()
    assert "| base |" in found.markdown and "2 groups" not in repr(found) and "mine: 4 runs" in repr(found)


def test_a_notebook_shows_its_tables_and_a_sheet_of_each_cell() -> None:
    html = distillkit.study(TABLES, name="mine", quiet=True)._repr_html_()
    assert html.count("<img ") == 2 and html.count("<table>") == 3
    assert "wide &lt;b&gt;" in html and "<b>wide" not in html
    assert not re.search(r"<(script|style|link)|https?:", html)
    assert re.findall(r'alt="([^"]*)"', html) == ["samples of base", "samples of wide &lt;b&gt;"]


def test_the_same_again_starts_nothing_and_a_file_means_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text('schema = 1\nname = "mine"\nseeds = [0, 1]\n[[cell]]\nrecipe = "base.toml"\n')
    found = distillkit.study("mine.toml", quiet=True)
    assert [row["state"] for row in found.rows] == ["reused", "reused"]
    assert capfd.readouterr().out == ""
    more = distillkit.study("mine.toml", run=False, quiet=True)
    assert more.rows == found.rows


def test_a_cell_that_fails_is_told_and_the_others_are_compared(capfd: pytest.CaptureFixture[str]) -> None:
    bad = {"teacher_score.use": "network", "teacher_score.checkpoint": "missing"}
    cells = [*TABLES["cell"][:1], {"label": "broken", "recipe": "base.toml", "set": bad}]
    found = distillkit.study({"seeds": [0], "cell": cells}, name="some", quiet=True)
    assert [row["state"] for row in found.rows] == ["reused", "failed"]
    assert len(found.failed) == 1 and "is missing; a network is" in found.failed[0]
    assert "warning: broken, seed 0 failed: exit code 3" in capfd.readouterr().err
    with pytest.raises(UsageError, match="nothing to compare: no run of this study exists yet"):
        distillkit.study({"seeds": [5], "cell": cells}, name="none", run=False)


def test_what_is_wrong_is_told_as_the_command_tells_it() -> None:
    with pytest.raises(RecipeProblems, match=r"seeds.*missing"):
        distillkit.study({"cell": [{"recipe": "base.toml"}]})
    with pytest.raises(UsageError, match=r"cell 'base'(?s:.*)did you mean batch"):
        distillkit.study({"seeds": [0], "cell": [{"recipe": "base.toml", "set": {"run.bacth": 3}}]})
    with pytest.raises(RecipeProblems, match="this is a recipe, not a study"):
        distillkit.study("base.toml")
    with pytest.raises(UsageError, match="a study is a path or a dict, not int"):
        distillkit.study(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="jobs: at least 1"):
        distillkit.study("mine.toml", jobs=0)
