"""Recipes that start from the results of other recipes."""

from __future__ import annotations

import pytest

from distillkit.api import UsageError
from distillkit.recipe import RecipeProblems, chain


@pytest.fixture
def family(put, good):
    """teacher <- sid <- sid2a, where sid2a needs the teacher too."""
    taught = good.replace('checkpoint = "teacher"', 'from = "teacher.toml"')
    put(good, "teacher.toml")
    put(taught, "sid.toml")
    return put(taught + '[generator]\nfrom = "sid.toml"\n', "sid2a.toml")


def test_parents_come_first_and_once(family, catalog):
    assert [recipe.name for recipe in chain(family, (), catalog)] == ["teacher", "sid", "sid2a"]


def test_settings_are_for_the_recipe_asked_for_and_the_seed_is_for_all(family, catalog):
    recipes = chain(family, ["run.kimg=1", "run.seed=5"], catalog)
    assert [(recipe.run.kimg, recipe.run.seed) for recipe in recipes] == [(100, 0), (100, 0), (1, 5)]
    assert [recipe.run.seed for recipe in chain(family, (), catalog, seed=7)] == [7, 7, 7]


def test_a_circle_is_named(put, family, good, catalog):
    put(good.replace('checkpoint = "teacher"', 'from = "sid2a.toml"'), "teacher.toml")
    with pytest.raises(UsageError, match=r"in a circle: sid2a.toml -> teacher.toml -> sid2a.toml"):
        chain(family, (), catalog)


def test_a_parent_that_is_not_there_is_a_problem_of_its_child(tmp_path, family, catalog):
    (tmp_path / "teacher.toml").unlink()
    with pytest.raises(RecipeProblems) as caught:
        chain(family, (), catalog)
    (problem,) = caught.value.problems
    assert (problem.key, problem.message) == ("teacher_score.from", 'no such file: "teacher.toml"')


def test_problems_of_a_parent_name_the_parent(put, family, good, catalog):
    put(good + "nope = 1", "teacher.toml")
    with pytest.raises(RecipeProblems, match=r"1 problem in .*teacher.toml"):
        chain(family, (), catalog)
