"""Auxiliary terms: automatic weights are exact ratios of gradient norms at the image; when a term acts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distillkit.api import AuxiliaryLoss, GeneratorLoss, PluginError, Term, hookimpl
from distillkit.train import auxiliary, turns
from distillkit.train.iterate import iterate
from distillkit.train.state import State
from distillkit.train.step import Step

Make = Callable[..., State]


class Pull(GeneratorLoss):
    """Towards (1, 1); its gradient at x is 2 (x - 1) / N."""

    @hookimpl
    def generator_loss(self, step: Step) -> Tensor:
        return (step.x - 1).square().flatten(1).sum(1)


class Blind(GeneratorLoss):
    """Never looks at step.x."""

    @hookimpl
    def generator_loss(self, state: State, step: Step) -> Tensor:
        return (state.generator(step.real, torch.tensor(1.0)) - step.real).square().flatten(1).sum(1)


class Spread(AuxiliaryLoss):
    """Pushes the points apart; `scale` is changed by a test."""

    scale = 1.0

    @hookimpl
    def auxiliary_loss(self, step: Step) -> Term:
        return Term("spread", -self.scale * step.x.flatten(1).var(0).sum())


class Wide(Spread):
    """The same, a million times larger."""

    scale = 1e6


class Own(AuxiliaryLoss):
    """Brings its own weight."""

    @hookimpl
    def auxiliary_loss(self, step: Step) -> Term:
        return Term("own", step.x.sum(), weight=0.25)


class Known(Spread):
    """The same as Spread, with a gradient that it works out by itself."""

    @hookimpl
    def auxiliary_loss(self, step: Step) -> Term:
        x = step.x.detach()
        grad = -self.scale * 2 * (x - x.mean(0)) / (len(x) - 1)
        return Term("spread", -self.scale * x.flatten(1).var(0).sum(), grad=grad)


class Absent(AuxiliaryLoss):
    """Has nothing to say."""

    @hookimpl
    def auxiliary_loss(self, step: Step) -> None:
        return None


def toys(make: Make, toy: Callable, *parts: type, sets: tuple[str, ...] = (), **slot: object) -> State:
    chosen = tuple(toy(part, **slot) for part in parts)
    return make('run.precision="fp64"', *sets, generator_loss=toy(Pull), teacher_score=None, auxiliary_loss=chosen)


def seen_at_x(state: State, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """x of one generator turn and the whole gradient that went back from it."""
    kept = []
    real = Step.backward

    def backward(step: Step) -> None:
        kept.append((step.x.detach(), step.x.grad.clone()))
        real(step)

    monkeypatch.setattr(Step, "backward", backward)
    turns.take(state, state.turns[-1])
    return tuple(torch.cat(parts) for parts in zip(*kept, strict=True))


@pytest.mark.parametrize("ratio", [0.5, 2.0])
@pytest.mark.parametrize("term", [Spread, Wide])
@pytest.mark.parametrize("micro", [16, 4])
def test_the_automatic_weight_makes_the_ratio_exact_whatever_the_scale(
    make_state: Make, toy: Callable, monkeypatch: pytest.MonkeyPatch, ratio: float, term: type, micro: int
) -> None:
    state = toys(make_state, toy, term, sets=(f"run.micro_batch={micro}",), weight="auto", ratio=ratio)
    x, grad = seen_at_x(state, monkeypatch)
    host = 2 * (x - 1) / 16
    torch.testing.assert_close((grad - host).norm(), ratio * host.norm())
    means, name = state.records.means(), term.__name__.lower()
    assert means[f"grad_norm/{name}"] == pytest.approx(ratio * host.norm().item())  # what it adds, weighted
    assert means[f"weight/{name}"] > 0


def test_a_run_does_not_feel_the_scale_of_a_balanced_term(make_state: Make, toy: Callable) -> None:
    ends = []
    for term in (Spread, Wide):
        state = toys(make_state, toy, term, weight="auto")
        for _ in range(4):
            iterate(state)
        ends.append(torch.cat([p.flatten() for p in state.networks["generator"].parameters()]))
    torch.testing.assert_close(*ends)


def test_the_weight_is_the_ratio_of_averaged_norms(make_state: Make) -> None:
    state = make_state()
    first = auxiliary.balanced(state, "t", 0.5, torch.tensor([8.0]), torch.tensor([2.0]))
    second = auxiliary.balanced(state, "t", 0.5, torch.tensor([28.0]), torch.tensor([2.0]))
    assert (first.item(), second.item()) == (2.0, pytest.approx(0.5 * (0.9 * 8 + 0.1 * 28) / 2))


def test_a_bad_norm_does_not_stay_in_the_average(make_state: Make) -> None:
    state = make_state()
    auxiliary.balanced(state, "t", 1.0, torch.tensor([8.0]), torch.tensor([2.0]))
    bad = auxiliary.balanced(state, "t", 1.0, torch.tensor([torch.nan]), torch.tensor([2.0]))
    good = auxiliary.balanced(state, "t", 1.0, torch.tensor([8.0]), torch.tensor([2.0]))
    assert not torch.isfinite(bad) and good.item() == 4.0


def test_a_fixed_weight_is_a_factor(make_state: Make, toy: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    x, grad = seen_at_x(toys(make_state, toy, Spread, weight=3.0), monkeypatch)
    torch.testing.assert_close(grad, 2 * (x - 1) / 16 - 3 * 2 * (x - x.mean(0)) / 15)


@pytest.mark.parametrize(("weight", "factor"), [("auto", 1.0), (3.0, 12.0)])
def test_a_terms_own_weight_is_what_auto_means_and_a_number_in_the_recipe_wins(
    make_state: Make, toy: Callable, monkeypatch: pytest.MonkeyPatch, weight: float | str, factor: float
) -> None:
    x, grad = seen_at_x(toys(make_state, toy, Own, Absent, weight=weight), monkeypatch)
    torch.testing.assert_close(grad, 2 * (x - 1) / 16 + factor * 0.25)


def test_two_terms_add_up_and_each_is_balanced_against_the_host_alone(
    make_state: Make, toy: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = toys(make_state, toy, Spread, weight="auto")
    _x, grad = seen_at_x(alone, monkeypatch)
    monkeypatch.undo()
    both = toys(make_state, toy, Own, Spread, weight="auto")
    _, summed = seen_at_x(both, monkeypatch)
    torch.testing.assert_close(summed, grad + 0.25)


@pytest.mark.parametrize("micro_batch", [16, 4])
def test_beside_a_loss_that_does_not_see_the_image_a_term_is_balanced_at_the_parameters(
    make_state: Make, toy: Callable, gradients: Callable, micro_batch: int
) -> None:
    def at_parameters(*terms: type, **slot: object) -> Tensor:
        state = make_state(
            f"run.micro_batch={micro_batch}", generator_loss=toy(Blind), teacher_score=None,
            auxiliary_loss=tuple(toy(term, **slot) for term in terms),
        )  # fmt: skip
        return torch.cat([g.flatten() for g in gradients(state, state.turns[-1])["generator"]])

    host = at_parameters()
    spread = at_parameters(Spread, weight=1.0) - host
    own = at_parameters(Own) - host
    balanced = host + 0.5 * host.norm() / spread.norm() * spread
    torch.testing.assert_close(at_parameters(Wide, weight="auto"), balanced, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(at_parameters(Own, Spread, weight="auto"), balanced + own, rtol=1e-4, atol=1e-6)


def test_a_fixed_weight_beside_a_loss_that_does_not_see_the_image_trains(make_state: Make, toy: Callable) -> None:
    state = make_state(generator_loss=toy(Blind), teacher_score=None, auxiliary_loss=(toy(Spread, weight=1.0),))
    iterate(state)
    assert {"loss/generator", "loss/spread"} <= set(state.records.means())


def test_two_components_of_one_name_keep_their_norms_apart(make_state: Make, toy: Callable) -> None:
    state = toys(make_state, toy, Spread, Spread, weight="auto")
    iterate(state)
    assert set(state.balance) == {"spread", "spread.1"}


def test_a_term_acts_between_start_and_stop_and_every_so_often(make_state: Make, toy: Callable) -> None:
    slot = {"weight": 1.0, "start_kimg": 0.032, "stop_kimg": 0.096, "every": 2}
    state = toys(make_state, toy, Spread, **slot)
    acted = []
    for _ in range(8):
        iterate(state)
        acted.append("loss/spread" in state.records.means())
        state.records.clear()
    assert acted == [False, False, True, False, True, False, False, False]  # 32 <= nimg < 96, even iterations


@pytest.mark.parametrize("weight", ["auto", 0.5])
@pytest.mark.parametrize("host", [Pull, Blind])
def test_a_gradient_that_the_term_knows_counts_as_one_that_autograd_finds(
    make_state: Make, toy: Callable, host: type, weight: str | float
) -> None:
    after = []
    for term in (Spread, Known):
        state = make_state('run.precision="fp64"', generator_loss=toy(host), teacher_score=None,
                           auxiliary_loss=(toy(term, weight=weight),))  # fmt: skip
        iterate(state)
        after.append(torch.cat([p.detach().flatten() for p in state.generator.parameters()]))
    torch.testing.assert_close(after[0], after[1], rtol=1e-10, atol=1e-12)


def test_a_gradient_of_another_shape_is_refused(make_state: Make, toy: Callable) -> None:
    class Odd(AuxiliaryLoss):
        """Forgets the images."""

        @hookimpl
        def auxiliary_loss(self, step: Step) -> Term:
            return Term("odd", step.x.detach().sum(), grad=step.x.detach().mean(0))

    with pytest.raises(PluginError, match=r"auxiliary_loss 'odd': Term.grad is \[.*\], expected \["):
        iterate(toys(make_state, toy, Odd))
