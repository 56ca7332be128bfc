"""Contracts of what moves weights, and of how lr changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import pytest
import torch
from torch import Tensor, nn

from distillkit.api import Optimizer, Schedule, UpdateRule
from distillkit.recipe import table_of
from distillkit.recipe.ends import depends_on_kimg
from distillkit.testing import toys
from distillkit.testing.component import ComponentContract
from distillkit.testing.ranks import simulated
from distillkit.testing.training import copied, differences, run, weights
from distillkit.train import snapshot
from distillkit.train.optim import Updater
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State

SHAPES = {"matrix": (20, 24), "kernel": (18, 20, 3, 3), "bias": (20,), "gain": ()}
QUADRATIC = 200  # updates


class UpdateRuleContract(ComponentContract):
    """It goes downhill, its state is all there is of it, and an update that is skipped leaves no trace."""

    kind = "optimizer"
    settings: ClassVar[Mapping[str, Any]] = {}  # other keys of the optimizer's table, over lr = 0.01

    @property
    def optimizer(self) -> Optimizer:
        return Optimizer(**{"name": self.choice, "lr": 1e-2, "weight_decay": 0.01, **self.settings})

    def training(self, ranks: Ranks | None = None, **run_table: Any) -> State:
        """The toy recipe, whose generator it moves, in float64."""
        table = {"name": self.table, "lr": 1e-2, **table_of(dict(self.settings))}
        return self.state(ranks, run={"precision": "fp64", **run_table}, generator={"optimizer": table})

    def test_it_finds_the_lowest_point_of_a_quadratic(self) -> None:
        net = network()
        way = {name: 0.5 * drawn(shape, 99) for name, shape in SHAPES.items()}
        goal = {name: p.detach() + way[name] for name, p in net.named_parameters()}
        updater = Updater(self.optimizer, net)
        for i in range(QUADRATIC):
            for name, p in net.named_parameters():
                p.grad = p.detach() - goal[name]
            updater.step(i * 16, QUADRATIC * 16)
        for name, p in net.named_parameters():
            left = (p.detach() - goal[name]).norm() / way[name].norm()
            assert left < 0.5, f"{name} of shape {list(p.shape)} has {left:.0%} of its way left"

    def test_what_it_keeps_is_all_that_it_goes_on_from(self) -> None:
        straight, halted, resumed = network(), network(), network()
        taught(straight, Updater(self.optimizer, straight), 0, 9)
        first, second = Updater(self.optimizer, halted), Updater(self.optimizer, resumed)
        taught(halted, first, 0, 5)
        resumed.load_state_dict(halted.state_dict())
        second.load({key: value.detach().clone() for key, value in first.tensors().items()})
        taught(resumed, second, 5, 4)
        assert alike(straight, resumed)

    def test_its_state_is_like_the_weight_or_a_number(self) -> None:
        net = network()
        rule = self.prepared(net)
        for name, p in net.named_parameters():
            state = rule.begin(name, p)
            assert "step" not in state, 'the engine keeps "step"'
            shapes = {p.shape} if rule.elementwise else {p.shape, torch.Size()}
            assert all(value.shape in shapes and value.dtype == p.dtype for value in state.values())

    def test_it_changes_nothing_that_it_is_given(self) -> None:
        net = network()
        rule = self.prepared(net)
        for name, p in net.named_parameters():
            p.grad = torch.randn_like(p)
            given = {"p": p.detach(), "grad": p.grad, **rule.begin(name, p.detach())}
            before = {key: value.clone() for key, value in given.items()}
            rule.move(name, p.detach(), p.grad, given | {}, torch.ones((), device=p.device), 1e-2)
            assert [key for key in given if not torch.equal(given[key], before[key])] == []

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_an_update_that_is_skipped_is_as_if_it_never_was(self, bad: float) -> None:
        straight, sick = network(), network()
        a, b = Updater(self.optimizer, straight), Updater(self.optimizer, sick)
        for i in range(6):
            if i in (0, 3):
                for p in sick.parameters():
                    p.grad = torch.full_like(p, bad)
                b.step(i * 16, 1600, torch.tensor(True, device=toys.device()))
            taught(straight, a, i, 1)
            taught(sick, b, i, 1)
        assert alike(straight, sick)
        assert all(torch.equal(value, b.tensors()[key]) for key, value in a.tensors().items())

    def test_a_weight_without_a_gradient_stays(self) -> None:
        net = network()
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        net.matrix.grad = torch.ones_like(cast(Tensor, net.matrix))
        Updater(self.optimizer, net).step(16, 1600)
        moved = [name for name, p in net.named_parameters() if not torch.equal(p, before[name])]
        assert moved == ["matrix"]

    def test_elementwise_it_moves_pieces_as_it_moves_the_whole(self) -> None:
        if not cast(UpdateRule, self.choice.build()).elementwise:
            return  # the engine refuses it where ranks share networks
        whole, pieces = network(), network()
        pieces.matrix = nn.Parameter(cast(Tensor, pieces.matrix).detach()[:7])
        for net in (whole, pieces):
            updater = Updater(self.optimizer, net)
            for i in range(4):
                for name, p in net.named_parameters():
                    p.grad = drawn(SHAPES[name], i)[: len(p)] if p.ndim else drawn((), i)
                updater.step(i * 16, 1600)
        assert torch.equal(cast(Tensor, whole.matrix)[:7], cast(Tensor, pieces.matrix))

    def test_a_run_that_was_interrupted_goes_on_to_the_same_bits(self) -> None:
        through, halfway, resumed = run(self.training(), 4), run(self.training(), 2), self.training()
        snapshot.restore(resumed, *copied(halfway))
        assert not differences(copied(run(resumed, 2)), copied(through))

    def test_micro_batches_and_two_processes_move_weights_alike(self) -> None:
        start, whole = weights(self.training())["generator"], run(self.training(), 3)
        others = [run(self.training(micro_batch=4), 3)]
        others += simulated(2, lambda ranks: run(self.training(ranks), 3))
        way = (weights(whole)["generator"] - start).norm()
        assert way > 0
        for other in others:
            for name in ("generator", "ema"):
                assert (weights(other)[name] - weights(whole)[name]).norm() <= 1e-6 * way

    def prepared(self, net: nn.Module) -> UpdateRule:
        rule = cast(UpdateRule, self.choice.build())
        rule.prepare(dict(net.named_parameters()), self.optimizer)
        return rule


def network() -> nn.ParameterDict:
    """Weights of every shape, the same each time."""
    return nn.ParameterDict({name: nn.Parameter(drawn(shape, -1)) for name, shape in SHAPES.items()})


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + 1)).to(toys.device())


def taught(net: nn.Module, updater: Updater, first: int, steps: int) -> None:
    """Updates by gradients that their number decides."""
    for i in range(first, first + steps):
        for p in net.parameters():
            p.grad = drawn(tuple(p.shape), i)
        updater.step(i * 16, 1600)


def alike(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


class ScheduleContract(ComponentContract):
    """A factor that images alone decide, and that says whether it knows the end of the run."""

    kind = "schedule"

    @property
    def schedule(self) -> Schedule:
        return cast(Schedule, self.choice.build())

    def test_factors_are_finite_and_not_negative_from_start_to_end(self) -> None:
        for total in (1, 16, 1000, 200_000_000):
            for nimg in {0, 1, total // 3, total // 2, total - 1, total, total + 64}:
                factor = self.schedule.factor(nimg, total)
                assert isinstance(factor, int | float) and 0 <= factor < math.inf

    def test_the_same_images_give_the_same_factor_in_any_order(self) -> None:
        ours, asked = self.schedule, range(0, 1000, 97)
        assert [ours.factor(n, 1000) for n in asked] == [self.schedule.factor(n, 1000) for n in reversed(asked)][::-1]

    def test_it_says_whether_it_depends_on_the_end_of_the_run(self) -> None:
        ours, asked = self.schedule, range(0, 1000, 50)
        other = any(ours.factor(n, 1000) != ours.factor(n, total) for n in asked for total in (1001, 2000, 10_000))
        assert ours.depends_on_kimg >= other, "factor depends on total: depends_on_kimg has to say so"
        assert depends_on_kimg(self.choice) == ours.depends_on_kimg, "its Config must say the same: depends_on_kimg"
