"""SCALE-3, 6, 9 and 11: what goes over the wire in an iteration, 128 ranks, and that one process asks for nothing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit.testing import toys
from distillkit.testing.ranks import simulated
from distillkit.testing.training import copied, run
from distillkit.train import ema, snapshot
from distillkit.train.ranks.alone import Ranks, passes
from distillkit.train.ranks.group import BUCKET, Group
from distillkit.train.state import State

SPEC = importlib.util.spec_from_file_location("methods", Path(__file__).with_name("methods.py"))
methods = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(methods)

FP32: toys.Tables = {"run": {"precision": "fp32"}}
BOTH = {"generator_loss": {"gan_after_kimg": 0.0}}
# All-reduces of an iteration, those of a few numbers among them, and all-gathers. Each turn has its losses and its
# gradients; an automatic weight the norms of the method's gradient and of the term's; a mean over the batch, of which
# SiDA has three, is a sum there and one back; the deviation of logits is one. At parameters norms are those of sums
# that the update needs.
GOLDEN = {
    "sid": (4, 2, 0),
    "sid, joint turn": (2, 1, 0),
    "sid and EL": (6, 4, 2),
    "sida and EL": (13, 11, 2),
    "ect": (2, 1, 0),
    "ect and EL": (3, 1, 2),
}


class Counted(Group):
    """Notes the size of each sum."""

    def __init__(self, group: Group) -> None:
        super().__init__(group.wire)
        self.sums: list[int] = []

    def _note(self, name: str, tensor: Tensor | None = None) -> None:
        super()._note(name, tensor)
        if name == "sum":
            self.sums.append(tensor.numel() * tensor.element_size())


def iteration(given: toys.Tables, group: Group) -> tuple[dict[str, list[int]], list[int], State]:
    """Collectives by name, and the bytes of each sum, of the third iteration."""
    ranks = Counted(group)
    state = run(toys.toy_state(ranks, **given), 2)
    ranks.count.clear()
    ranks.sums.clear()
    return ranks.count, ranks.sums, run(state, 1)


def parameters(state: State) -> int:
    """Bytes of all gradients that the turns bring."""
    return sum(p.numel() * p.element_size() for turn in state.turns for name in turn.trains
               for p in state.updaters[name].params)  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_an_iteration_takes_so_many_collectives_and_the_gradients_once(name: str) -> None:
    method, _, el = name.partition(" and ")
    given = methods.tables(method, FP32, BOTH if method == "sida" else {}, methods.EL if el else {})
    for count, sums, state in simulated(2, partial(iteration, given)):
        gradients = parameters(state) * (2 if name == "ect and EL" else 1)  # the term's by themselves, for their norm
        # Where nothing but numbers is added up beside the gradients, a sum takes at most a few of 8 bytes.
        large = [n for n in sums if n > 64]
        gathers = count.get("gather", [0, 0])
        assert (len(sums), len(sums) - len(large), gathers[0]) == GOLDEN[name]
        assert sum(large) == gradients
        assert not set(count) - {"sum", "gather"}


def test_the_embedding_loss_gathers_each_embedding_once_and_nothing_backwards() -> None:
    found: list[tuple[int, ...]] = []

    def work(group: Group) -> None:
        state = run(toys.toy_state(group, **methods.tables("sid", methods.EL)), 1)  # the features of real images too
        before = group.gather_rows
        group.gather_rows = lambda rows, counts: (found.append(tuple(rows.shape)), before(rows, counts))[1]
        run(state, 1)

    simulated(3, work)
    assert sorted(found) == [(3, 16), (3, 16), (3, 64), (3, 64), (4, 16), (4, 64)]  # own rows, of two embeddings


def test_the_average_the_optimizer_and_a_skipped_update_ask_nobody() -> None:
    def work(group: Group) -> None:
        state = run(toys.toy_state(group, **methods.tables("sid")), 1)
        group.count.clear()
        ema.update(state.ema, state.networks["generator"], 0.5)
        for name, updater in state.updaters.items():
            for p in state.networks[name].parameters():
                p.grad = torch.full_like(p, torch.nan)
            updater.step(state.nimg, state.total, torch.tensor(True))
        assert not group.count

    simulated(2, work)


def test_gradients_travel_in_few_buckets_of_one_type_each() -> None:
    group = Group(Silent(0, 2))
    tensors = [torch.ones(BUCKET // 16) for _ in range(6)] + [torch.ones(3, dtype=torch.float64), torch.ones(5)]
    group.sum_(tensors)
    assert group.count["sum"] == [4, sum(t.numel() * t.element_size() for t in tensors)]


class Silent:
    """A wire to ranks that have nothing to add, and the same rows as this one."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def sum_(self, flat: Tensor) -> None:
        pass

    def gather(self, rows: Tensor) -> Tensor:
        return rows.repeat(self.size, *[1] * (rows.ndim - 1))

    def collect(self, thing: Any) -> list[Any]:
        return [thing] * self.size

    def most(self, flags: list[int]) -> Callable[[], list[int]]:
        return lambda: flags


@pytest.mark.parametrize("batch", [128, 1000, 2048, 8192])
def test_128_ranks_hold_each_row_once_and_equal_shares(batch: int) -> None:
    for micro_batch in [None, *(n for n in (4, 8) if batch % n == 0 and batch // n >= 128)]:
        held = [passes(batch, micro_batch, rank, 128) for rank in range(128)]
        rows = [row for own in held for first, n in own for row in range(first, first + n)]
        assert rows == list(range(batch))
        assert max(map(len, held)) - min(map(len, held)) <= 1
        sizes = [sum(n for _, n in own) for own in held]
        assert sizes == Group(Silent(5, 128)).counts(batch, micro_batch) and min(sizes) > 0


def test_a_rank_of_128_trains_its_two_rows_of_256() -> None:
    el = {"auxiliary_loss": [{**methods.EL["auxiliary_loss"][0], "bank_mb": 0}]}  # what others embed is not there
    given = methods.tables("sid", el, {"run": {"batch": 256, "kimg": 0.512}})
    ranks = Group(Silent(77, 128))
    state = run(toys.toy_state(ranks, **given), 2)
    assert ranks.passes(256, None) == [(154, 2)] and state.nimg == 512 and not state.skipped
    assert ranks.count["gather"][0] == 4 and ranks.rows(50_000) == slice(30_078, 30_468)


def test_one_process_alone_gets_back_what_it_gives() -> None:
    ranks, x = Ranks(), torch.ones(3, 2, requires_grad=True)
    assert ranks.sum(x) is x and ranks.gather(x, [3]) is x and ranks.gathered(x) is x
    assert ranks.agree(True, False) == (True, False) and ranks.rows(7) == slice(0, 7)
    assert ranks.passes(8, None) == [(0, 8)] and ranks.passes(8, 4) == [(0, 4), (4, 4)]
    y = x.detach().clone()
    ranks.sum_([y])
    assert torch.equal(y, x) and ranks.share(lambda: y) is y and ranks.together(lambda: y) is y
    ranks.alike("nothing is computed for it", lambda: pytest.fail("it was asked"))


def test_a_step_of_one_process_is_its_own_and_counts_as_one() -> None:
    state = toys.toy_state(**methods.tables("sid", methods.EL))
    step = toys.toy_step(state)
    assert step.own is step and step.gather(step.x) is step.x
    run(state, 1)
    assert all(type(count) is int for _, count in state.records.state().values()) and not state.added


@pytest.mark.parametrize("micro_batch", [None, 2], ids=["one pass", "four passes"])
def test_a_tick_that_began_on_one_process_and_went_on_with_several_is_the_mean_over_its_iterations(
    micro_batch: int | None,
) -> None:
    tables = {"run": {"precision": "fp64"} | ({"micro_batch": micro_batch} if micro_batch else {})}
    tables |= {"generator_loss": {"use": "sida", "generator_after_kimg": 0.0, "gan_after_kimg": 0.0}}
    alone, begun = toys.toy_state(**tables), run(toys.toy_state(**tables), 1)
    want = run(alone, 4).records.means()
    tensors, meta = copied(begun)

    def go_on(ranks: Group) -> dict[str, float]:
        state = toys.toy_state(ranks, **tables)
        snapshot.restore(state, {name: tensor.clone() for name, tensor in tensors.items()}, meta)
        if not ranks.first:
            state.records.clear()
        run(state, 3)
        ranks.collect(state.records)
        return state.records.means()

    found, *_ = simulated(2, go_on)
    assert found == {name: pytest.approx(value, rel=1e-9, abs=1e-12) for name, value in want.items()}
