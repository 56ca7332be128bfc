"""Neighbouring images that a method takes together are in one pass, whoever computes it."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from distillkit.api import UsageError
from distillkit.recipe.problem import RecipeProblems
from distillkit.testing import toys
from distillkit.testing.ranks import simulated
from distillkit.testing.training import run, weights
from distillkit.train.ranks.alone import Ranks, passes
from distillkit.train.ranks.shares import check, check_statistics
from distillkit.train.state import State

NETWORK = {"use": "mlp", "width": 8, "depth": 1}
GROUPS: toys.Tables = {
    "run": {"batch": 24, "kimg": 0.096, "precision": "fp64", "threads": 1},
    "dataset": {"resolution": 4, "channels": 1, "size": 32},
    "generator": {"init": "scratch", "network": NETWORK},
    "generator_loss": {"use": "imm", "M": 4},
    "auxiliary_loss": [{"use": "embedding", "real_batch": 8, "embeddings": [{"use": "pixels"}]}],
}


def trained(given: toys.Tables, ranks: Ranks | None = None) -> State:
    return run(toys.toy_state(ranks, **given), 2)


@pytest.mark.parametrize(("batch", "group", "size"), [(24, 4, 1), (24, 4, 2), (24, 4, 4), (24, 4, 6), (21, 3, 4)])
def test_a_share_is_whole_groups(batch: int, group: int, size: int) -> None:
    held = [passes(batch, None, rank, size, group) for rank in range(size)]
    rows = [row for own in held for first, n in own for row in range(first, first + n)]
    assert rows == list(range(batch))
    assert all(n and first % group == n % group == 0 for ((first, n),) in held)
    counts = Ranks().counts(batch, None, group)
    assert counts == [batch]


def test_ranks_and_micro_batches_train_what_one_process_does() -> None:
    want = weights(trained(GROUPS))
    micro = [weights(trained(toys.merged(GROUPS, {"run": {"micro_batch": n}}))) for n in (8, 4)]
    ranks = [weights(one) for size in (2, 3) for one in simulated(size, partial(trained, GROUPS))]
    for found in (*micro, *ranks):
        for name, one in want.items():
            torch.testing.assert_close(found[name], one, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("run_", "told"), [
    ({"batch": 10}, "run.batch  must be a multiple of 4, images that \"imm\" takes together, got 10"),
    ({"batch": 24, "micro_batch": 6}, "run.micro_batch  must be a multiple of 4"),
])  # fmt: skip
def test_other_batches_are_refused_before_anything_runs(run_: dict[str, int], told: str) -> None:
    with pytest.raises(RecipeProblems, match="for example") as refusal:
        toys.toy_recipe(**toys.merged(GROUPS, {"run": run_}))
    assert told in str(refusal.value)


def test_no_more_processes_than_groups() -> None:
    with pytest.raises(UsageError, match="gives work to at most 6 processes, not 7"):
        check(24, None, 7, 4)
    assert check(24, None, 4, 4) == "6 groups of 4 images: 2 of 4 processes wait half of the time"
    assert check(24, None, 3, 4) == "" == check(24, None, 5)
    with pytest.raises(UsageError, match="makes 2 passes, for at most 2 processes; 4 would do for 4"):
        check(24, 12, 4, 4)
    with pytest.raises(
        UsageError, match=r"name run.micro_batch \(8 would do for 3 processes\)|= what 3 processes hold"
    ):
        check_statistics({"D": torch.nn.Sequential(torch.nn.BatchNorm2d(1))}, 24, None, 3, 4)
