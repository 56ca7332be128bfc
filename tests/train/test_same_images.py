"""A turn on another turn's images: the same z and labels, the very x where it was just made, real images of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distillkit.api import AuxiliaryLoss, GeneratorLoss, Optimizer, PluginError, Term, Turn, hookimpl
from distillkit.testing import toy_state
from distillkit.train import turns
from distillkit.train.iterate import iterate
from distillkit.train.state import State
from distillkit.train.step import Step

Make = Callable[..., State]
CRITIC = Turn(name="critic", trains=("critic",), same_images_as="generator")
GENERATOR = Turn(name="generator", trains=("generator",), losses=("generator_loss",))


class Host(GeneratorLoss):
    """Counts its passes; the critic learns the mean of the images."""

    order = (GENERATOR, CRITIC)

    @hookimpl
    def setup(self, state: State) -> None:
        self.seen: list[tuple[str, Tensor, Tensor | None]] = []
        state.add_network("critic", torch.nn.Linear(1, 1), Optimizer(lr=1e-2))
        state.turns = list(self.order)

    @hookimpl
    def critic_loss(self, state: State, step: Step) -> Tensor:
        self.seen.append((step.turn, step.x.clone(), step.labels))
        assert not step.x.requires_grad
        return (state.networks["critic"](step.x.flatten(1).mean(1, keepdim=True)) - step.real.mean()).square()[:, 0]

    @hookimpl
    def generator_loss(self, step: Step) -> Tensor:
        self.seen.append((step.turn, step.x.detach().clone(), step.labels))
        return (step.x - 1).square().flatten(1).sum(1)


class Judge(AuxiliaryLoss):
    """A term with a critic and a turn of its own, beside a host that has critics too."""

    @hookimpl
    def setup(self, state: State) -> None:
        self.seen: list[str] = []
        state.add_network("judge", torch.nn.Linear(1, 1), Optimizer(lr=1e-2))
        state.turns.append(Turn(name="judge", trains=("judge",), same_images_as="generator", asks=self.judging_loss))

    def judging_loss(self, state: State, step: Step) -> Tensor:
        self.seen.append(step.turn)
        return state.networks["judge"](step.x.flatten(1).mean(1, keepdim=True)).square()[:, 0]

    @hookimpl
    def auxiliary_loss(self, state: State, step: Step) -> Term:
        return Term("judge", state.networks["judge"](step.x.flatten(1).mean(1, keepdim=True)).square().mean())


class Plain(GeneratorLoss):
    """No critic and no turns of its own."""

    @hookimpl
    def generator_loss(self, step: Step) -> Tensor:
        return (step.x - 1).square().flatten(1).sum(1)


class Second(AuxiliaryLoss):
    """Wants to answer for every critic."""

    @hookimpl
    def critic_loss(self, step: Step) -> Tensor:
        return step.x.flatten(1).sum(1)

    @hookimpl
    def auxiliary_loss(self, step: Step) -> Term | None:
        return None


def passes(state: State, action: Callable[[], None]) -> int:
    """How often the generator runs in `action`."""
    count = []
    handle = state.networks["generator"].register_forward_hook(lambda *_: count.append(1))
    action()
    handle.remove()
    return len(count)


@pytest.mark.parametrize("micro", [16, 4])
def test_the_critic_sees_the_images_of_before_the_generators_update_without_making_them_again(
    make_state: Make, toy: Callable, micro: int
) -> None:
    state = make_state(f"run.micro_batch={micro}", generator_loss=toy(Host), teacher_score=None)
    assert passes(state, lambda: iterate(state)) == 16 // micro
    seen = state.components["generator_loss"].seen
    made, found = (torch.cat([x for turn, x, _ in seen if turn == name]) for name in ("generator", "critic"))
    assert torch.equal(made, found)


def test_without_the_generators_turn_the_same_z_is_used(make_state: Make, toy: Callable) -> None:
    state = make_state(generator_loss=toy(Host), teacher_score=None)
    turns.take(state, CRITIC)  # nobody has made x yet
    turns.take(state, GENERATOR)
    (_, first, _), (_, second, _) = state.components["generator_loss"].seen
    assert torch.equal(first, second)


def test_labels_are_those_of_x_and_real_images_are_drawn_apart_with_their_own() -> None:
    state = toy_state()
    ours, theirs = (
        Step(state, name, 0, 8, 8, same_images_as=of) for name, of in (("critic", "generator"), ("generator", ""))
    )
    assert torch.equal(ours.labels, theirs.labels) and torch.equal(ours.x, theirs.x)
    assert not torch.equal(ours.index, theirs.index)
    assert torch.equal(ours.real_labels, state.dataset.labels(ours.index))
    assert torch.equal(theirs.real_labels, theirs.labels)


def test_images_do_not_outlive_their_iteration(make_state: Make, toy: Callable) -> None:
    state = make_state(generator_loss=toy(Host), teacher_score=None)
    state.turns = [GENERATOR, Turn(name="late", trains=("critic",), every=2, first=1, same_images_as="generator")]
    iterate(state)
    state.turns = state.turns[1:]
    assert passes(state, lambda: iterate(state)) == 1


@pytest.mark.parametrize("host", [Host, Plain])
def test_a_term_may_have_a_turn_of_its_own_beside_the_hosts(make_state: Make, toy: Callable, host: type) -> None:
    state = make_state(generator_loss=toy(host), teacher_score=None, auxiliary_loss=(toy(Judge, weight=0.1),))
    names = [turn.name for turn in state.turns]
    assert names == (["generator", "critic", "judge"] if host is Host else ["generator", "judge"])
    iterate(state)
    assert state.components["auxiliary_loss.0"].seen == ["judge"]
    if host is Host:
        assert [turn for turn, *_ in state.components["generator_loss"].seen] == ["generator", "critic"]


def test_a_turn_without_a_critics_loss_asks_nobody_for_one() -> None:
    with pytest.raises(PluginError, match="turn 'mine' would never ask `asks`: its losses are \\('generator_loss',\\)"):
        Turn(name="mine", trains=("generator",), losses=("generator_loss",), asks=lambda state, step: step.x)


def test_two_components_that_answer_for_every_critic_are_refused(make_state: Make, toy: Callable) -> None:
    with pytest.raises(PluginError, match="hook 'critic_loss' is implemented by"):
        make_state(generator_loss=toy(Host), teacher_score=None, auxiliary_loss=(toy(Second),))


def test_terms_draw_other_numbers_than_the_host(make_state: Make, toy: Callable) -> None:
    drawn = {}

    class Draws(AuxiliaryLoss):
        """Draws first thing."""

        @hookimpl
        def auxiliary_loss(self, step: Step) -> Term:
            drawn["term"] = step.randn(1)
            return Term("draws", step.x.sum(), weight=0.0)

    class DrawsToo(Plain):
        """Draws first thing as well."""

        @hookimpl
        def generator_loss(self, step: Step) -> Tensor:
            drawn["host"] = step.randn(1)
            return step.x.flatten(1).sum(1)

    iterate(make_state(generator_loss=toy(DrawsToo), teacher_score=None, auxiliary_loss=(toy(Draws),)))
    assert not torch.equal(drawn["host"], drawn["term"])
