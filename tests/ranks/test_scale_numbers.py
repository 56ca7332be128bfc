"""SCALE-1: the same recipe on one process and on several, with the same numbers."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distillkit.api import UsageError
from distillkit.registry import Catalog
from distillkit.testing import toys
from distillkit.testing.ranks import simulated
from distillkit.testing.training import copied, weights
from distillkit.train.ranks.group import Group
from distillkit.train.state import State

SPEC = importlib.util.spec_from_file_location("methods", Path(__file__).with_name("methods.py"))
methods = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(methods)

AMPLIFY = {"ct", "ect"}  # rounding, where the two noise levels are close: in the last stages of their schedules
OF_A_PASS = {"f-distill", "sida", "ctm", "ctm-gan"}  # have a number that is of the images of a pass
BOTH_WAYS = {"rcm"}  # to the weights, directly and through x: with EL between them all direct parts add up first
ON_FOUR = ("sid", "sida", "dmd2", "ect", "gdd", "ctm")
EACH = [(method, el) for method in methods.METHODS for el in (False, True)]
NAMES = [f"{method}{' and EL' * el}" for method, el in EACH]
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # of BatchNorm: used by nobody who trains


def apart(found: Tensor, want: Tensor) -> float:
    return float((found - want).norm() / want.norm().clamp(min=1e-300))


def same(alone: State, ranks: list[State], within: float) -> None:
    """Asserts that ranks trained what one process does, all of them the same bits, and report the same."""
    first, *others = (copied(state)[0] for state in ranks)
    for other in others:
        unlike = [name for name, one in first.items() if not torch.equal(one, other[name])]
        assert [name for name in unlike if not name.endswith(BUFFERS)] == []
    want, found = weights(alone), weights(ranks[0])
    assert {name: apart(found[name], one) for name, one in want.items() if apart(found[name], one) > within} == {}
    rows, told = alone.records.means(), ranks[0].records.means()
    assert told == {name: pytest.approx(value, rel=within, abs=1e-12) for name, value in rows.items()}


def test_every_method_that_is_shipped_has_a_case() -> None:  # sid2a is sida, and sct scd, but for a part
    ours = {offer.name for offer in Catalog.installed().offers if offer.kind == "generator_loss"}
    assert ours - {"sid2a", "sct"} == {methods.tables(name)["generator_loss"]["use"] for name in methods.METHODS}


@pytest.mark.parametrize(("method", "el"), EACH, ids=NAMES)
def test_one_two_and_three_ranks_train_the_same_and_some_on_four(method: str, el: bool) -> None:
    given = methods.tables(method, methods.EL if el else {})
    alone = methods.trained(given)
    start = weights(toys.toy_state(**given))
    assert min(apart(after, start[name]) for name, after in weights(alone).items() if name in alone.networks) > 1e-4
    for size in (3,) if el else (2, 3, 4) if method in ON_FOUR else (2, 3):  # 3: parts of two sizes
        same(alone, simulated(size, partial(methods.trained, given)), 1e-6 if method in AMPLIFY else 1e-9)


@pytest.mark.parametrize(("method", "el"), EACH, ids=NAMES)
def test_two_ranks_are_one_process_with_half_the_micro_batch_to_the_bit(method: str, el: bool) -> None:
    single: toys.Tables = {"run": {"precision": "fp32", "batch": 12}}
    halves: toys.Tables = {"run": {"micro_batch": 6}}
    given = methods.tables(method, single, methods.EL if el else {})
    # Where a number is of a pass, the recipe says how large that is.
    named = toys.merged(given, halves) if method in OF_A_PASS or "micro_batch" in given["run"] else given
    want = weights(methods.trained(toys.merged(given, halves), iterations=4))
    found = weights(simulated(2, partial(methods.trained, named, iterations=4))[0])
    unlike = [name for name, one in want.items() if not torch.equal(one, found[name])]
    within = 1e-5 if el and method in BOTH_WAYS else 0.0
    assert [name for name in unlike if not apart(found[name], want[name]) <= within] == []


@pytest.mark.parametrize("method", ["sid", "sida"])
def test_four_micro_batches_on_three_ranks_are_those_of_one(method: str) -> None:
    given = methods.tables(method, methods.EL, {"run": {"batch": 8, "micro_batch": 2}})
    same(methods.trained(given), simulated(3, partial(methods.trained, given)), 1e-9)


def test_pairs_of_the_teacher_and_an_adversary_are_the_same_on_three_ranks() -> None:
    terms = [{"use": "regression", "pairs": 16}, {"use": "adversarial"}]
    given = methods.tables("dmd", {"auxiliary_loss": terms})
    same(methods.trained(given), simulated(3, partial(methods.trained, given)), 1e-9)


ADAPTERS: toys.Tables = {"generator": {"adapter": {"use": "lora", "rank": 2}}}


def test_adapters_train_the_same_on_two_ranks_and_to_the_bit_where_passes_are_alike() -> None:
    given = methods.tables("sid", methods.EL, ADAPTERS)
    same(methods.trained(given, iterations=6), simulated(2, partial(methods.trained, given, iterations=6)), 1e-9)
    single = toys.merged(given, {"run": {"precision": "fp32", "batch": 12}})
    want = weights(methods.trained(toys.merged(single, {"run": {"micro_batch": 6}}), iterations=3))
    found = weights(simulated(2, partial(methods.trained, single, iterations=3))[0])
    assert [name for name, one in want.items() if not torch.equal(one, found[name])] == []


def test_adapters_beside_networks_in_pieces_are_refused() -> None:
    def begin(ranks: Group) -> None:
        ranks.asked_shards = 2
        toys.toy_state(ranks, **methods.tables("sid", ADAPTERS))

    with pytest.raises(UsageError, match=r"--shard does not go with generator\.adapter"):
        simulated(2, begin)
