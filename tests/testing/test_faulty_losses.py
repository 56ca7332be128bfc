"""Each fault of a loss is found by the contract of its kind: every test here is one that must fail (x)."""

from __future__ import annotations

import random
from typing import Any

import torch
from faults import caught
from torch import Tensor

from distillkit.api import AuxiliaryLoss, GeneratorLoss, Optimizer, PluginError, Term, hookimpl
from distillkit.testing.toys import ToyLoss


def energy(x: Tensor) -> Tensor:
    """[N]"""
    return x.square().flatten(1).sum(1)


class OneNumber(GeneratorLoss):
    """One loss for the whole batch."""

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        return energy(step.x).mean()


class Infinite(GeneratorLoss):
    """Divides by nothing."""

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        return energy(step.x) / 0


class Still(GeneratorLoss):
    """Has a critic that never trains."""

    @hookimpl
    def setup(self, state: Any) -> None:
        state.add_network("fake_score", "teacher", Optimizer(lr=1e-3, warmup_kimg=1e9))

    @hookimpl
    def critic_loss(self, state: Any, step: Any) -> Tensor:
        return energy(state.networks["fake_score"](step.x, torch.ones(()), step.labels))

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        return energy(step.x)


class Hungry(GeneratorLoss):
    """Cannot do without labels."""

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        return energy(step.x) * step.labels.sum(1)


class Dicing(GeneratorLoss):
    """Draws numbers that no seed decides."""

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        return energy(step.x - random.random())


class OwnNoise(GeneratorLoss):
    """Draws noise from the global generator instead of the step."""

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        return energy(step.x + torch.randn_like(step.x))


class Centred(GeneratorLoss):
    """Takes the mean of the micro-batch for that of the batch."""

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        return energy(step.x - step.x.mean(0) + 0.1)


class Forgetful(GeneratorLoss):
    """Keeps an average that no checkpoint holds."""

    mean: Tensor | float = 0.0

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        self.mean = 0.5 * self.mean + 0.5 * step.x.detach().mean()
        return energy(step.x - self.mean)


class Meddling(ToyLoss):
    """Changes the teacher while the generator trains."""

    @hookimpl
    @torch.no_grad()
    def after_step(self, state: Any) -> None:
        next(state.teacher.network.parameters()).mul_(0.9)


class Silent(ToyLoss):
    """Says nothing of a number that it logs."""

    @hookimpl
    def setup(self, state: Any) -> None:
        self.state = state

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        self.state.record("spread", step.x.detach().std())
        return energy(step.x)


class Older(Silent):
    """Of a release that asked for no sentences."""

    curves = {}


class Reaching(GeneratorLoss):
    """Trains its critic by hand within the generator's turn."""

    @hookimpl
    def setup(self, state: Any) -> None:
        state.add_network("fake_score", "teacher")

    @hookimpl
    def critic_loss(self, state: Any, step: Any) -> Tensor:
        return energy(state.networks["fake_score"](step.x, torch.ones(()), step.labels))

    @hookimpl
    def generator_loss(self, state: Any, step: Any) -> Tensor:
        with torch.no_grad():
            next(state.networks["fake_score"].parameters()).mul_(0.9)
        return energy(step.x)


class Littering(GeneratorLoss):
    """Leaves gradients on the teacher."""

    @hookimpl
    def generator_loss(self, state: Any, step: Any) -> Tensor:
        weight = next(state.teacher.network.parameters())
        weight.grad = torch.zeros_like(weight)
        return energy(step.x)


class Curious(GeneratorLoss):
    """Looks at a number while the device is still computing it."""

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        loss = energy(step.x)
        return loss if float(loss.detach().sum()) > 0 else 2 * loss


class Picky(GeneratorLoss):
    """Chooses rows by a condition, so that the host must learn how many they are."""

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        loss = energy(step.x)
        return loss + 0 * loss[loss > 0].sum()


class Thawed(GeneratorLoss):
    """Forgets to freeze the network it looks through."""

    @hookimpl
    def setup(self, state: Any) -> None:
        self.net = torch.nn.Conv2d(state.dataset.channels, 1, 1)

    @hookimpl
    def generator_loss(self, step: Any) -> Tensor:
        return energy(step.x + self.net(step.x))


TestOneNumber = caught(OneNumber, "test_every_loss_is_one_finite_number_per_image", by=PluginError)
PATIENT = {"run": {"max_nonfinite": 99}}
TestInfinite = caught(Infinite, "test_some_iterations_are_finite_and_move_the_generator_alone", recipe=PATIENT)
TestStill = caught(Still, "test_some_iterations_are_finite_and_move_the_generator_alone")
TestHungry = caught(Hungry, "test_it_works_without_labels", by=AttributeError)
TestDicing = caught(Dicing, "test_two_runs_from_one_seed_are_the_same_bits")
TestOwnNoise = caught(OwnNoise, "test_micro_batches_give_the_gradient_of_the_whole_batch")
TestCentred = caught(Centred, "test_micro_batches_give_the_gradient_of_the_whole_batch")
TestForgetful = caught(Forgetful, "test_a_run_goes_on_from_a_checkpoint_bit_for_bit")
TestMeddling = caught(Meddling, "test_some_iterations_are_finite_and_move_the_generator_alone")
TestSilent = caught(Silent, "test_what_it_logs_has_a_sentence_on_what_it_means")
TestOlder = caught(Older, "test_what_it_logs_has_a_sentence_on_what_it_means", DeprecationWarning)
TestReaching = caught(Reaching, "test_a_turn_moves_the_networks_it_trains_and_no_other")
TestLittering = caught(Littering, "test_no_gradient_is_left_on_a_network_that_does_not_train")
TestCurious = caught(Curious, "test_a_step_does_not_wait_for_the_device")
TestPicky = caught(Picky, "test_a_step_does_not_wait_for_the_device")
TestThawed = caught(Thawed, "test_weights_that_do_not_train_want_no_gradients")


class Vector(AuxiliaryLoss):
    """A term per image."""

    @hookimpl
    def auxiliary_loss(self, step: Any) -> Term:
        return Term("vector", energy(step.x))


class Detached(AuxiliaryLoss):
    """A term that sees the images but does not move them."""

    @hookimpl
    def auxiliary_loss(self, step: Any) -> Term:
        return Term("detached", (step.x.detach() + 0 * step.x).square().sum())


class Noisy(AuxiliaryLoss):
    """Draws numbers that no seed decides."""

    @hookimpl
    def auxiliary_loss(self, step: Any) -> Term:
        return Term("noisy", energy(step.x - random.random()).mean())


class Absent(AuxiliaryLoss):
    """An average over steps that no checkpoint holds."""

    mean: Tensor | float = 0.0

    @hookimpl
    def auxiliary_loss(self, step: Any) -> Term:
        self.mean = 0.5 * self.mean + 0.5 * step.x.detach().mean()
        return Term("absent", energy(step.x - self.mean).mean())


class Fetching(AuxiliaryLoss):
    """Computes on the host."""

    @hookimpl
    def auxiliary_loss(self, step: Any) -> Term:
        return Term("fetching", energy(step.x).mean() * max(step.x.detach().flatten().tolist()))


class Backwards(AuxiliaryLoss):
    """Would train the real images."""

    @hookimpl
    def auxiliary_loss(self, step: Any) -> Term:
        return Term("backwards", (step.x - step.real).square().sum())


TestVector = caught(Vector, "test_a_term_is_a_scalar_with_a_gradient_at_the_images")
TestDetached = caught(Detached, "test_a_term_is_a_scalar_with_a_gradient_at_the_images")
TestNoisy = caught(Noisy, "test_two_runs_from_one_seed_are_the_same_bits")
TestAbsent = caught(Absent, "test_a_run_goes_on_from_a_checkpoint_bit_for_bit")
TestFetching = caught(Fetching, "test_a_step_does_not_wait_for_the_device")
TestBackwards = caught(Backwards, "test_no_gradient_reaches_real_images_or_the_teacher")
