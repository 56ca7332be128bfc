"""A recipe's teacher made ready without its student: the data set opened, the network loaded, as a run does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import attrs
from torch import Tensor

from distillkit.api import Choice, GeneratorLoss, InputError, Network, Step, UsageError, hookimpl
from distillkit.assets.folder import folder
from distillkit.assets.locate import located, require
from distillkit.disk import rundir
from distillkit.recipe import choice_from_table, shipped, with_checkpoint
from distillkit.recipe.schema import Generator, Recipe
from distillkit.registry import Catalog
from distillkit.run import lookup
from distillkit.run.nodes import graph
from distillkit.train.build import build
from distillkit.train.state import State


class Still(GeneratorLoss):
    """Nothing trains where a teacher is looked at."""

    @hookimpl
    def generator_loss(self, step: Step) -> Tensor:
        return step.x.new_zeros(len(step.x))


def recipe_of(path: Path, sets: Sequence[str], runs: Path, catalog: Catalog) -> Recipe:
    """The recipe, with the result of the run that its teacher is from.

    Raises UsageError where it has no teacher, InputError where that is not trained yet or its file is missing.
    """
    nodes = graph(path, sets, catalog, None, runs=runs)
    recipe = nodes[-1].recipe
    if recipe.teacher_score is None:
        raise UsageError(
            f"{shipped.told(path)} has no [teacher_score]: name a recipe that distils the teacher, "
            f'or give it one: --set teacher_score.use="network" --set teacher_score.checkpoint="runs/0001-teacher"'
        )
    if parent := nodes[-1].sources.get("teacher_score"):
        found = lookup.plan(nodes, rundir.known(runs))
        run = next(one.run for node, one in zip(nodes, found, strict=True) if node.recipe.path.resolve() == parent)
        if run is None or not run.ended:
            raise InputError(
                f"the teacher of {shipped.told(path)} is not trained yet: distillkit run {shipped.told(parent)}"
            )
        recipe = with_checkpoint(recipe, "teacher_score", (run.path / "result").resolve())
    require(shipped.told(path), [recipe.teacher_score, recipe.dataset], folder())
    return located(recipe, folder())


def ready(recipe: Recipe, catalog: Catalog, *, guided: bool = False) -> State:
    """The live teacher; `guided`: with the recipe's guidance."""
    teacher = recipe.teacher_score
    assert teacher is not None, "the caller has looked"
    if not guided:
        teacher = attrs.evolve(teacher, slot=attrs.evolve(teacher.slot, guidance=None))
    # A student of one number: what else is made of a recipe takes as long as the recipe is large.
    network = cast(Choice[Network], choice_from_table("network", {"use": "mlp", "width": 1, "depth": 1}, catalog, ""))
    run = attrs.evolve(
        recipe.run, compile=False, channels_last=False, checkpoint_activations=False, state_bits=32, ema_device=None,
        offload=False, micro_batch=None, batch=1,
    )  # fmt: skip
    alone = attrs.evolve(
        recipe, run=run, teacher_score=teacher, generator=Generator(init="scratch", network=network),
        generator_loss=Choice("generator_loss", "none", Still, Still.Config()), auxiliary_loss=(), evaluate=(),
        logger=(),
    )  # fmt: skip
    return build(alone, catalog)
