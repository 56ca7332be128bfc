"""A component that needs numbers, or does not know tensors without content, is never refused for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from distillkit.api import AuxiliaryLoss, Evaluate, State, Step, Term, UsageError, hookimpl
from distillkit.dry.refused import located
from distillkit.dry.tried import tried
from distillkit.recipe import read
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.testing import tiny_recipe


class Reading(AuxiliaryLoss):
    """Refuses a number that it reads, which nobody knows before."""

    @hookimpl
    def auxiliary_loss(self, step: Step) -> Term:
        if float(step.x.mean()) > 0.5:
            raise UsageError("the images are too bright")
        return Term("reading", step.x.square().sum())


class Foreign(Evaluate):
    """Knows no tensors without content."""

    @hookimpl
    def setup(self, state: State) -> None:
        state.dataset.images(state.dataset.classes).numpy()

    @hookimpl
    def evaluate(self) -> dict[str, float]:
        return {}


class Refusing(AuxiliaryLoss):
    """Refuses late: in a step, not in setup."""

    @hookimpl
    def auxiliary_loss(self, state: State, step: Step) -> Term:
        raise UsageError("ratio: this cannot be; take another")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "r.toml"
    path.write_text(tiny_recipe("sid", teacher_score={"use": "gaussian-mixture"}, evaluate=None))
    return read(path)


def test_made_up_numbers_refuse_nothing(recipe: Recipe, toy: Any) -> None:
    card, untried = tried(attrs.evolve(recipe, auxiliary_loss=(toy(Reading),)), {}, Catalog.installed())
    assert card is not None and card["network"]["use"] == "mlp"
    assert [line.split(":")[0] for line in untried] == ["turn 'generator'"]


def test_what_does_not_know_such_tensors_is_told_and_the_rest_is_tried(recipe: Recipe, toy: Any) -> None:
    _, untried = tried(attrs.evolve(recipe, evaluate=(toy(Foreign),)), {}, Catalog.installed())
    assert len(untried) == 1 and untried[0].startswith("evaluate[0] 'foreign'")


def test_a_refusal_in_a_step_is_found_and_its_place_with_it(recipe: Recipe, toy: Any) -> None:
    late = attrs.evolve(recipe, auxiliary_loss=(toy(Refusing, start_kimg=1e6),))
    with pytest.raises(UsageError) as raised:
        tried(late, {}, Catalog.installed())
    (problem,) = located(raised.value, late, ()).problems
    assert problem.key == "auxiliary_loss[0]" and "take another" in problem.message
