"""A turn: gradients that meet at the image are autograd's, whatever the micro-batches; who trains and who does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distillkit.api import AuxiliaryLoss, GeneratorLoss, PluginError, Term, Turn, UsageError, hookimpl
from distillkit.train import turns
from distillkit.train.iterate import iterate
from distillkit.train.state import State
from distillkit.train.step import Step

Make = Callable[..., State]
CRITIC, GENERATOR = 0, 1  # of SiD's turns


class Pull(GeneratorLoss):
    """Towards (1, 1), each image on its own."""

    @hookimpl
    def generator_loss(self, step: Step) -> Tensor:
        return (step.x - 1).square().flatten(1).sum(1)


class Direct(GeneratorLoss):
    """A denoising loss that never touches step.x."""

    @hookimpl
    def generator_loss(self, state: State, step: Step) -> Tensor:
        assert not step.x_was_used
        noisy = step.real + 0.5 * step.randn_like(step.real)
        return (state.generator(noisy, torch.tensor(0.5)) - step.real).square().flatten(1).sum(1)


class Wrong(GeneratorLoss):
    """Forgets that a loss has one number per image."""

    @hookimpl
    def generator_loss(self, step: Step) -> Tensor:
        return step.x.square().mean()


class Spread(AuxiliaryLoss):
    """A batch-level term: the variance of the points."""

    @hookimpl
    def auxiliary_loss(self, step: Step) -> Term:
        return Term("spread", -step.x.flatten(1).var(0).sum())


def attached(state: State, turn: Turn) -> Step:
    """A step whose x is not a leaf: gradients go through it to the generator as in any plain loop."""
    step = Step(state, turn.name, 0, state.batch, state.batch, trains_generator=True)
    state.networks["generator"].requires_grad_(True)
    step.x = step.sample()
    return step


def close(found: list[Tensor | None], expected: list[Tensor], tolerance: float = 1e-12) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def plain(state: State, loss: Tensor, name: str = "generator") -> list[Tensor]:
    return list(torch.autograd.grad(loss, state.updaters[name].params, retain_graph=True))


def test_a_step_tells_whether_its_images_were_used(make_state: Make) -> None:
    state = make_state()
    step = Step(state, "generator", 0, 16, 16)
    assert step.real.shape == (16, *state.dataset.shape) and not step.x_was_used
    assert step.x.isfinite().all() and step.x_was_used
    given = Step(state, "generator", 0, 16, 16, x=step.x)
    assert given.x_was_used and given.x is step.x


def test_gradients_that_meet_at_the_image_are_those_of_one_backward_pass(
    make_state: Make, toy: Callable, gradients: Callable
) -> None:
    state = make_state(
        'run.precision="fp64"', generator_loss=toy(Pull), teacher_score=None, auxiliary_loss=(toy(Spread, weight=0.3),)
    )
    turn = state.turns[-1]
    found = gradients(state, turn)
    step = attached(state, turn)
    loss = (step.x - 1).square().flatten(1).sum(1).mean() - 0.3 * step.x.flatten(1).var(0).sum()
    close(found["generator"], plain(state, loss))


def test_sid_through_the_engine_is_sid_in_one_graph(make_state: Make, gradients: Callable) -> None:
    state = make_state('run.precision="fp64"')
    turn = state.turns[GENERATOR]
    found = gradients(state, turn)
    step = attached(state, turn)
    loss = state.hook.generator_loss(state=state, step=step, teacher_score=state.teacher_score)
    close(found["generator"], plain(state, loss.mean()))


@pytest.mark.parametrize("size", [1, 4, 8])
@pytest.mark.parametrize("weight", ["none", '"auto"', "0.7"])
@pytest.mark.parametrize("shared", ["false", "true"])
def test_micro_batches_change_nothing(make_state: Make, embedding: str, size: int, weight: str, shared: str) -> None:
    more = "" if weight == "none" else embedding.replace('"auto"', weight)
    ends = []
    for micro in (16, size):
        sets = ('run.precision="fp64"', f"run.micro_batch={micro}", f"generator_loss.shared_forward={shared}")
        state = make_state(*sets, more=more)
        for _ in range(3):
            iterate(state)
        ends.append([p for network in (*state.networks.values(), state.ema) for p in network.parameters()])
    close(ends[1], ends[0], 1e-10)


def test_micro_batches_give_the_same_gradients(make_state: Make, embedding: str, gradients: Callable) -> None:
    found = []
    for micro in (16, 4):
        state = make_state('run.precision="fp64"', f"run.micro_batch={micro}", more=embedding)
        found.append(gradients(state, state.turns[GENERATOR])["generator"])
    close(found[1], found[0], 1e-10)


def test_a_joint_turn_gives_each_network_the_gradient_of_its_own_loss(make_state: Make, gradients: Callable) -> None:
    state = make_state('run.precision="fp64"', "generator_loss.shared_forward=true")
    (turn,) = state.turns
    found = gradients(state, turn)
    expected = {}
    for loss_of in ("fake_score", "generator"):  # two separate computations
        step = attached(state, turn)
        state.networks["fake_score"].requires_grad_(True)
        losses = {"fake_score": state.hook.critic_loss(state=state, step=step)}
        teacher = {"teacher_score": state.teacher_score}
        losses["generator"] = state.hook.generator_loss(state=state, step=step, **teacher)
        expected[loss_of] = plain(state, losses[loss_of].mean(), loss_of)
    for name, grads in expected.items():
        close(found[name], grads)


@pytest.mark.parametrize("micro", [16, 4])
def test_a_loss_that_reaches_the_generator_directly_trains_it(
    make_state: Make, toy: Callable, gradients: Callable, micro: int
) -> None:
    sets = ('run.precision="fp64"', f"run.micro_batch={micro}")
    state = make_state(*sets, generator_loss=toy(Direct), teacher_score=None)
    found = gradients(state, state.turns[-1])
    state.networks["generator"].requires_grad_(True)
    step = Step(state, "generator", 0, 16, 16, trains_generator=True)
    close(
        found["generator"], plain(state, state.hook.generator_loss(state=state, step=step, teacher_score=None).mean())
    )


def test_a_loss_that_is_not_per_image_is_refused(make_state: Make, toy: Callable) -> None:
    state = make_state(generator_loss=toy(Wrong), teacher_score=None)
    with pytest.raises(PluginError, match=r"generator_loss returned \[\], expected \[16\]: one loss per image"):
        turns.take(state, state.turns[-1])


def test_turns_wait_for_their_iteration_and_their_images(make_state: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    state, taken = make_state(), []
    state.turns = [
        Turn(name="always", trains=("fake_score",)),
        Turn(name="third", trains=("fake_score",), every=3),
        Turn(name="late", trains=("fake_score",), start_kimg=0.032),
    ]
    monkeypatch.setattr(turns, "take", lambda state, turn: taken.append((state.iteration, turn.name)))
    for _ in range(4):
        iterate(state)
    assert taken == [
        (0, "always"), (0, "third"), (1, "always"), (2, "always"), (2, "late"), (3, "always"), (3, "third"), (3, "late")
    ]  # fmt: skip
    assert (state.nimg, state.iteration) == (64, 4)


def test_who_does_not_train_gets_no_gradients_and_is_in_evaluation_mode(make_state: Make) -> None:
    state, seen = make_state(), []
    fake_score, generator = state.networks["fake_score"], state.networks["generator"]

    def look(network: torch.nn.Module) -> tuple[bool, bool]:
        return network.training, any(p.requires_grad for p in network.parameters())

    def watch(network: torch.nn.Module, *_: object) -> None:
        if network is fake_score:
            seen.append((look(fake_score), look(generator)))

    handle = fake_score.register_forward_hook(watch)
    iterate(state)
    handle.remove()
    assert seen == [((True, True), (False, False)), ((False, False), (True, True))]
    for network in (fake_score, generator, state.ema):
        assert look(network) == (False, False) and all(p.grad is None for p in network.parameters())


def test_an_error_in_a_turn_restores_the_networks(make_state: Make, toy: Callable) -> None:
    state = make_state(generator_loss=toy(Wrong), teacher_score=None)
    with pytest.raises(PluginError):
        turns.take(state, state.turns[-1])
    assert not state.networks["generator"].training
    assert not any(p.requires_grad for p in state.networks["generator"].parameters())


def test_frozen_parameters_stay_as_they_are(make_state: Make) -> None:
    state = make_state('generator.freeze=["hidden.0.*"]')
    before = {name: p.clone() for name, p in state.networks["generator"].named_parameters()}
    iterate(state)
    moved = {name for name, p in state.networks["generator"].named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if not name.startswith("hidden.0.")}


@pytest.mark.parametrize(("pattern", "message"), [("hiden.*", "no parameter is named like"), ("*", "nothing would")])
def test_a_useless_freeze_is_refused(make_state: Make, pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_state(f'generator.freeze=["{pattern}"]')
