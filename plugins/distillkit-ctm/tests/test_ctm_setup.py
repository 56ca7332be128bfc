"""What CTM's setup finds, keeps and refuses: the layer that weighs, the target, networks that cannot jump."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch

from distillkit.api import UsageError
from distillkit.recipe import RecipeProblems
from distillkit.testing import toy_state, toys
from distillkit.train.build import build
from distillkit.train.iterate import iterate
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State

UNET = {"use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": []}
MLP = {"use": "mlp", "width": 8, "depth": 2}


def started(network: dict[str, Any] = MLP, use: str = "ctm", **keys: Any) -> State:
    loss = {"use": use, "N": 4, "h": 2, **keys}
    return toy_state(run={"batch": 8}, teacher_score={"network": network}, generator_loss=loss)


@pytest.mark.parametrize(("network", "name"), [(UNET, "model.dec.8x8_aux_conv.weight"), (MLP, "out.weight")])
def test_the_last_layer_is_the_one_that_a_pass_calls_last(network: dict[str, Any], name: str) -> None:
    state = started(network)
    layers: Any = state.components["generator_loss"]
    assert layers.layers[-1] is dict(state.networks["generator"].named_parameters())[name]


def test_a_pattern_names_another_one() -> None:
    state = started(last_layer="hidden.*")
    layers: Any = state.components["generator_loss"]
    assert layers.layers[-1] is dict(state.networks["generator"].named_parameters())["hidden.1.weight"]


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no weight of the student is called 'dec\.\*'"):
        started(last_layer="dec.*")


def test_more_steps_than_the_grid_has_are_refused() -> None:
    with pytest.raises(RecipeProblems, match="'h' must be below 'N' = 4"):
        started(h=4)


def test_a_grid_that_rises_is_refused() -> None:
    with pytest.raises(RecipeProblems, match=r"'sigma_min'.*'sigma_max'"):
        started(sigma_min=90.0)


@pytest.mark.parametrize("use", ["ctm", "ctm-gan"])
def test_weights_by_gradients_at_a_layer_are_refused_where_ranks_share_it(use: str) -> None:
    """Before anything trains, not at the first loss."""

    class Pieces(Ranks):
        def divide(self, *given: Any) -> None:
            self.shards = 2

    def shared(**keys: Any) -> State:
        loss = {"use": use, "N": 4, "h": 2, **keys}
        recipe = toys.toy_recipe(run={"batch": 8}, teacher_score={"network": MLP}, generator_loss=loss)
        return build(recipe, toys.catalog(), Pieces())

    with pytest.raises(UsageError, match=rf"generator_loss '{use}' asks for gradients of whole weights.*--shard"):
        shared()
    shared(adaptive=False)
    if use == "ctm":
        shared(dsm=0.0)  # there is nothing to weigh


def test_without_a_teacher_the_target_itself_goes_down() -> None:
    def alone(**keys: Any) -> State:
        tables: Any = {"run": {"batch": 8}, "generator": {"init": "scratch", "network": MLP}}
        recipe = toys.toy_recipe(generator_loss={"use": "ctm", "N": 4, "h": 2, **keys}, **tables)
        return build(attrs.evolve(recipe, teacher_score=None), toys.catalog())

    with pytest.raises(UsageError, match='or solver = "self"'):
        alone()
    state = alone(solver="self")
    iterate(state)
    state.ranks.collect(state.records)
    assert state.records.means()["loss/ctm"] >= 0


@pytest.mark.parametrize("use", ["ctm", "ctm-gan"])
def test_the_target_follows_where_the_student_moves(use: str) -> None:
    """Of ctm-gan in every second iteration, for the discriminator trains in the others."""
    state = started(use=use, mu=0.75)
    target: Any = state.components["generator_loss"].target  # type: ignore[attr-defined]
    for p in state.networks["generator"].parameters():
        p.data.add_(0.1)  # what a step moves is less than the tolerance
    for moves in (True, use == "ctm"):
        before = [p.clone() for p in target.parameters()]
        iterate(state)
        for old, new, now in zip(before, target.parameters(), state.networks["generator"].parameters(), strict=True):
            torch.testing.assert_close(new, 0.75 * old + 0.25 * now if moves else old)
