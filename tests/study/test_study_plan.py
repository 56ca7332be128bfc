"""Study files: what they say, and everything that is wrong with them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from distillkit.api import UsageError
from distillkit.recipe import RecipeProblems
from distillkit.registry import Catalog
from distillkit.study import jobs, read
from distillkit.testing import tiny_recipe

RECIPE = tiny_recipe("edm", run={"kimg": 1.0, "batch": 8}, teacher_score={"use": "gaussian-mixture"})
CATALOG = Catalog.installed()


@pytest.fixture
def study(tmp_path):
    (tmp_path / "base.toml").write_text(RECIPE)
    (tmp_path / "child.toml").write_text('schema = 1\nextends = "base.toml"\n[generator]\nfrom = "base.toml"\n')

    def write(text, seeds="[0, 1]"):
        path = tmp_path / "study.toml"
        path.write_text(f'schema = 1\nname = "s"\nseeds = {seeds}\n{text}')
        return path

    return write


def planned(path):
    return jobs(read(path, CATALOG), CATALOG)


HOSTS = """
[[vary.host]]
label = "a"
recipe = "base.toml"
set = ["run.kimg=2"]
[[vary.host]]
label = "b"
recipe = "child.toml"
"""
TERMS = """
[[vary.term]]
label = "itself"
[[vary.term]]
label = "more"
set = ["run.batch=4", "run.kimg=3"]
"""


def test_axes_make_a_cell_of_every_combination_with_the_settings_of_all_its_options(study):
    found = read(study(HOSTS + TERMS), CATALOG)
    assert [(cell.label, cell.recipe, cell.set) for cell in found.cell] == [
        ("a, itself", "base.toml", ("run.kimg=2",)),
        ("a, more", "base.toml", ("run.kimg=2", "run.batch=4", "run.kimg=3")),  # a later axis goes over an earlier one
        ("b, itself", "child.toml", ()),
        ("b, more", "child.toml", ("run.batch=4", "run.kimg=3")),
    ]
    jobs_ = planned(study(HOSTS + TERMS))
    assert {job.cell[0]: job.node.recipe.run.kimg for job in jobs_ if job.cell} == {
        "a, itself": 2, "a, more": 3, "b, itself": 1, "b, more": 3
    }  # fmt: skip


def test_rows_are_the_combinations_of_all_axes_but_the_last(study):
    middle = '[[vary.size]]\nlabel = "big"\n[[vary.size]]\nlabel = "small"\nset = ["dataset.size=8"]\n'
    rows = read(study(HOSTS + middle + TERMS), CATALOG).rows()
    assert list(rows) == ["a, big", "a, small", "b, big", "b, small"]
    assert rows["b, big"] == {"itself": "b, big, itself", "more": "b, big, more"}
    assert read(study(HOSTS), CATALOG).rows() == {"": {"a": "a", "b": "b"}}
    assert read(study('[[cell]]\nlabel = "x"\nrecipe = "base.toml"'), CATALOG).rows() == {}


def test_a_cell_beside_the_axes_comes_after_theirs(study):
    found = read(study('[[cell]]\nlabel = "x"\nrecipe = "base.toml"\n' + HOSTS), CATALOG)
    assert [cell.label for cell in found.cell] == ["a", "b", "x"]


def test_a_study_extends_another_and_replaces_an_axis_or_the_cells(study, tmp_path):
    study(HOSTS + TERMS + '[[cell]]\nlabel = "x"\nrecipe = "base.toml"').rename(tmp_path / "first.toml")
    (tmp_path / "second.toml").write_text(
        'schema = 1\nextends = "first.toml"\ncell = []\n[[vary.host]]\nlabel = "c"\nrecipe = "base.toml"\n'
    )
    found = read(tmp_path / "second.toml", CATALOG)
    assert [cell.label for cell in found.cell] == ["c, itself", "c, more"] and found.seeds == (0, 1)


def test_every_seed_of_a_cell_is_a_job_and_keeps_the_seed_of_what_it_builds_on(study):
    made = planned(study('[[cell]]\nrecipe = "child.toml"'))
    assert [job.name for job in made] == ["base", "child, seed 0", "child, seed 1"]
    base = made[0]
    assert all(job.needs == (base.fingerprint,) for job in made[1:])
    assert made[2].arguments(Path("r")) == ["run", str(made[2].recipe), "--set", "run.seed=1", "--wait", "--runs", "r"]


def test_teacher_seeds_gives_each_seed_its_own_chain(study):
    made = planned(study('teacher_seeds = true\n[[cell]]\nrecipe = "child.toml"'))
    assert [job.name for job in made] == ["base, seed 0", "child, seed 0", "base, seed 1", "child, seed 1"]
    assert made[3].needs == (made[2].fingerprint,)
    assert made[2].arguments(Path("r"))[2:] == ["--seed", "1", "--teacher-seeds", "--wait", "--runs", "r"]


def test_a_cell_that_others_build_on_is_one_job(study):
    made = planned(study('[[cell]]\nrecipe = "child.toml"\n[[cell]]\nrecipe = "base.toml"'))
    assert sorted(job.name for job in made) == ["base, seed 0", "base, seed 1", "child, seed 0", "child, seed 1"]
    shared = next(job for job in made if job.name == "base, seed 0")
    assert shared.cell == ("base", 0)
    assert [job.name for job in made if shared.fingerprint in job.needs] == ["child, seed 0", "child, seed 1"]


def test_settings_of_the_study_go_below_those_of_a_cell_and_to_no_parent(study):
    made = planned(study('set = ["run.kimg=2"]\n[[cell]]\nrecipe = "child.toml"\nset = ["run.kimg=3"]', "[0]"))
    assert [(job.name, job.node.recipe.run.kimg) for job in made] == [("base", 1.0), ("child, seed 0", 3.0)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sed = 1", "study.toml:4  sed  unknown key\n      did you mean seeds?"),
        ("[[cell]]\nrecipe = 3", "study.toml:5  cell[0].recipe  expected a string, got 3"),
        ("", "no cell at all"),
        ('[[cell]]\nrecipe = "none.toml"', "no such recipe: 'none.toml'"),
        (
            '[grid]\nrecipes = ["base.toml"]',
            "study.toml:4  grid  unknown table\n      keys here: schema, name, seeds, set",
        ),
        (HOSTS + HOSTS, "two cells are called 'a'"),
        (TERMS, "vary  no option names a recipe\n      one axis names them, in each of its options"),
        (HOSTS + HOSTS.replace("host", "other"), "vary  recipes are named by host, other"),
        (HOSTS + '[[vary.host]]\nlabel = "c"\n', "vary  recipes are named by host\n      one axis names them, in each"),
        ("[vary]\nhost = []", "vary  the axes make 0 cells, 1 to 1000 are allowed"),
        ('[[vary.host]]\nlabel = "a"\nkimg = 3', "vary.host[0].kimg  unknown key\n      keys here: label, recipe, set"),
        (HOSTS + "".join(TERMS.replace("term", f"term{i}") for i in range(9)), "make 1024 cells, 1 to 1000"),
        ('baseline = "x"\n[[cell]]\nrecipe = "base.toml"', "no cell is called 'x'"),
        ('within = 1.5\n[[cell]]\nrecipe = "base.toml"', "study.toml:4  within"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(study, text, told):
    with pytest.raises(RecipeProblems) as caught:
        read(study(text), CATALOG)
    assert told in str(caught.value)


def test_seeds_are_different_whole_numbers(study):
    with pytest.raises(RecipeProblems, match="must be different whole numbers"):
        read(study('[[cell]]\nrecipe = "base.toml"', seeds="[1, 1]"), CATALOG)


def test_the_problems_of_all_cells_are_told_before_anything_runs(study):
    text = "".join(
        f'[[cell]]\nlabel = "{key}"\nrecipe = "base.toml"\nset = ["run.{key}=1"]\n' for key in ("bath", "kim")
    )
    with pytest.raises(UsageError) as caught:
        planned(study(text))
    assert "cell 'bath'" in str(caught.value) and "did you mean kimg?" in str(caught.value)


def test_two_cells_that_are_one_recipe_are_refused(study):
    with pytest.raises(UsageError, match="cell 'b': it is the same recipe as cell 'a'"):
        planned(study('[[cell]]\nlabel = "a"\nrecipe = "base.toml"\n[[cell]]\nlabel = "b"\nrecipe = "base.toml"'))
