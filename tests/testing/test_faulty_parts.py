"""Each fault of a part is found by the contract of its kind: every test here is one that must fail (x)."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest
import torch
from faults import caught
from torch import Tensor, nn

from distillkit.api import Augment, Embedding, Features, Kernel, Network, Sample, TeacherScore, hookimpl
from distillkit.builtin.heun import Heun
from distillkit.builtin.mlp import Mlp
from distillkit.testing.toys import ToyImages, ToyTeacher

# Of any component.


class LongWinded(Kernel):
    """A kernel whose author could not find a short description of what it is, and so went on and on, and on."""


class Undescribed(Kernel):
    pass


Undescribed.__doc__ = None


class Mutable(Kernel):
    """Its settings can be changed under the feet of everybody."""

    @attrs.define(kw_only=True)
    class Config:
        scale: float = 1.0


class Vague(Kernel):
    """Its key may be anything."""

    @attrs.frozen(kw_only=True)
    class Config:
        scale: Any = 1.0


class Shifting(Kernel):
    """Its config is another one each time it is read."""

    @attrs.frozen(kw_only=True)
    class Config:
        scale: float = attrs.field(default=1.0, converter=lambda value: 2 * value)


class Gambler(Kernel):
    """Making it moves the global generator."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.noise = torch.randn(3)


TestLong = caught(LongWinded, "test_its_docstring_starts_with_a_line_that_a_list_can_show")
TestSilent = caught(Undescribed, "test_its_docstring_starts_with_a_line_that_a_list_can_show")
TestMutable = caught(Mutable, "test_its_config_is_frozen_and_every_key_has_a_type", by=pytest.fail.Exception)
TestVague = caught(Vague, "test_its_config_is_frozen_and_every_key_has_a_type")
TestShifting = caught(Shifting, "test_its_config_survives_toml")
TestGambler = caught(Gambler, "test_its_constructor_draws_no_random_numbers")


# Data and metrics.


class Leak(ToyImages):
    """Holds out what it trains on."""

    def held_out(self) -> ToyImages:
        return self


class Levels(ToyImages):
    """Images from 0 to 255."""

    def images(self, index: Tensor) -> Tensor:
        return (super().images(index) + 1) * 127.5


class Flickering(ToyImages):
    """Flips images at random."""

    def images(self, index: Tensor) -> Tensor:
        return super().images(index) * random.choice((1, -1)) * (1 - 1e-3 * random.random())


class Soft(ToyImages):
    """Labels that are no classes."""

    def labels(self, index: Tensor) -> Tensor:
        return super().labels(index) * 0.9 + 0.03


class Lent(ToyImages):
    """Hands out its own memory."""

    def images(self, index: Tensor) -> Tensor:
        return self._x[int(index[0]) : int(index[0]) + len(index)]


TestLeak = caught(Leak, "test_held_out_images_are_no_training_images")
TestLevels = caught(Levels, "test_images_are_float32_of_its_shape_and_within_the_range")
TestFlickering = caught(Flickering, "test_an_image_is_a_function_of_its_index")
TestSoft = caught(Soft, "test_labels_are_one_hot_or_none_at_all")
TestLent = caught(Lent, "test_what_a_caller_does_to_its_images_stays_with_the_caller")


# Embeddings, kernels, augmentation, features.


class Unseeded(Embedding):
    """Weights from the global generator."""

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        net = nn.Sequential(nn.Flatten(), nn.Linear(channels * resolution**2, 4))
        return net.eval().requires_grad_(False)


class Gossip(Embedding):
    """Normalises over the batch."""

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(channels * resolution**2, affine=False))


class Blind(Embedding):
    """Lets no gradient through."""

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        net = nn.Flatten().eval()
        net.register_forward_hook(lambda _, __, features: features.detach())
        return net


class WrongSlope(Kernel):
    """Its derivative lacks a factor."""

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        k = (-2 * r).exp()
        return k, -k


class Indefinite(Kernel):
    """Grows with the distance."""

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        return r, torch.ones_like(r)


class Singular(Kernel):
    """Equal points push each other infinitely far."""

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        return -r.sqrt(), -0.5 / r.sqrt()


class Dice(Augment):
    """Random by itself."""

    augment_dim = 1

    def __call__(self, x: Tensor, step: Any) -> tuple[Tensor, Tensor]:
        u = torch.rand(len(x), 1)
        return x + u[:, :, None, None], u


class Trainable(Features):
    """Features with a graph."""

    def prepare(self, dataset: Any, held_out: Any, cache: Any) -> None:
        self.weight = torch.ones(1, requires_grad=True)

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        return {"penultimate": self.weight * x.flatten(1)}


TestUnseeded = caught(Unseeded, "test_its_seed_decides_its_weights")
TestUnseededToo = caught(Unseeded, "test_making_it_leaves_the_global_generator_alone")
TestGossip = caught(Gossip, "test_rows_do_not_see_each_other", by=ValueError)
TestBlind = caught(Blind, "test_it_is_frozen_and_lets_gradients_through_to_every_image", by=RuntimeError)
TestWrongSlope = caught(WrongSlope, "test_its_derivative_is_the_slope_of_its_profile")
TestIndefinite = caught(Indefinite, "test_its_matrix_is_symmetric_and_positive")
TestSingular = caught(Singular, "test_at_zero_distance_both_are_finite")
TestDice = caught(Dice, "test_all_randomness_is_the_steps")
TestTrainable = caught(Trainable, "test_they_are_flat_float32_by_name")


# Networks, samplers, teachers.


class Wrapped(Network):
    """An mlp in which `spoil` changes what comes out."""

    Config = Mlp.Config

    def module(self, resolution: int, channels: int, label_dim: int) -> nn.Module:
        net = Mlp(self.config).module(resolution, channels, label_dim)
        net.register_forward_hook(lambda _, __, D: self.spoil(D))
        return net

    def spoil(self, D: Tensor) -> Tensor:
        return D


class Mixing(Wrapped):
    """Takes the mean over the batch away."""

    def spoil(self, D: Tensor) -> Tensor:
        return D - D.mean(0)


class Single(Wrapped):
    """Knows single precision only."""

    def spoil(self, D: Tensor) -> Tensor:
        return D.float()


class Miscounted(Heun):
    """Calls the network more often than it says."""

    nfe = 1


class Unlabelled(Sample):
    """Forgets the labels."""

    @hookimpl
    def sample(self, state: Any, z: Tensor) -> Tensor:
        return state.generator(z, z.new_ones(len(z), 1, 1, 1))


class Lazy(TeacherScore):
    """Denoises nothing."""

    @hookimpl
    def teacher_score(self, x: Tensor) -> Tensor:
        return 1.0 * x


class Learning(ToyTeacher):
    """Its weights collect gradients."""

    @hookimpl
    def setup(self, state: Any) -> None:
        super().setup(state)
        self.network.requires_grad_(True)


SCRATCH = {"generator": {"init": "scratch", "network": {"use": "mlp", "width": 8}}}
TestMixing = caught(Mixing, "test_rows_do_not_see_each_other")
TestSingle = caught(Single, "test_it_runs_in_double_precision")
TestMiscounted = caught(Miscounted, "test_it_calls_the_network_nfe_times_and_passes_the_labels_on")
TestUnlabelled = caught(Unlabelled, "test_it_calls_the_network_nfe_times_and_passes_the_labels_on")
TestLazy = caught(Lazy, "test_it_denoises_better_than_doing_nothing", recipe=SCRATCH)
TestLearning = caught(Learning, "test_its_gradient_reaches_the_images_and_none_of_its_weights")
