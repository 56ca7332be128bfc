"""Contracts of the parts inside losses and metrics: embeddings, kernels, augmentation, features."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import ClassVar

import attrs
import pytest
import torch
from torch import Tensor, nn

from distillkit.api import Features, Kernel
from distillkit.mmd import mmd2
from distillkit.testing import toys
from distillkit.testing.component import ComponentContract


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Unit normal numbers that leave the global generator alone, on `pytest --device`."""
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers.to(toys.device(), dtype)


class EmbeddingContract(ComponentContract):
    """A frozen map x -> [N,D] of any image shape; same seed, same weights."""

    kind = "embedding"
    resolutions: ClassVar[tuple[int, ...]] = (8, 9, 16, 32)
    channels: ClassVar[tuple[int, ...]] = (1, 3, 4)
    seeded: ClassVar[bool] = True  # false: its weights come from a file

    def module(self, resolution: int = 8, channels: int = 3, seed: int = 0) -> nn.Module:
        net: nn.Module = self.choice.build().module(resolution, channels, seed)
        return net.to(toys.device())

    def test_features_are_flat_and_finite_for_every_image_shape(self) -> None:
        for resolution in self.resolutions:
            for channels in self.channels:
                features = self.module(resolution, channels)(drawn(2, channels, resolution, resolution).clamp(-1, 1))
                assert features.ndim == 2 and len(features) == 2 and features.isfinite().all()

    def test_its_seed_decides_its_weights(self) -> None:
        x = drawn(2, 3, 8, 8)
        assert torch.equal(self.module(seed=5)(x), self.module(seed=5)(x))
        if self.seeded and self.module().state_dict():
            assert not torch.equal(self.module(seed=5)(x), self.module(seed=6)(x))

    def test_making_it_leaves_the_global_generator_alone(self) -> None:
        before = torch.get_rng_state()
        self.module()
        assert torch.equal(torch.get_rng_state(), before)

    def test_it_is_frozen_and_lets_gradients_through_to_every_image(self) -> None:
        net, x = self.module(), drawn(3, 3, 8, 8).requires_grad_()
        assert not net.training and not any(p.requires_grad for p in net.parameters())
        net(x).square().sum().backward()
        assert x.grad is not None and x.grad.isfinite().all() and x.grad.flatten(1).any(1).all()

    def test_rows_do_not_see_each_other(self) -> None:
        net, x = self.module().double(), drawn(3, 3, 8, 8, dtype=torch.float64)
        torch.testing.assert_close(net(x[1:2]), net(x)[1:2], rtol=1e-10, atol=1e-10)

    def test_it_tells_images_apart(self) -> None:
        a, b = self.module()(drawn(2, 3, 8, 8))
        assert not torch.allclose(a, b)


class BackboneContract(ComponentContract):
    """Frozen maps at several scales: finite, finest first, a gradient at x and none elsewhere."""

    kind = "backbone"
    recipe: ClassVar[toys.Tables] = {"dataset": {"channels": 3}}

    def maps(self, x: Tensor, seed: int = 0) -> list[Tensor]:
        state = self.state()
        net = self.choice.build().module(state).to(state.device)
        assert not net.training and not any(p.requires_grad for p in net.parameters())
        labels = toys.toy_step(state).labels
        rows = None if labels is None else labels[: len(x)]
        maps: list[Tensor] = net(x, rows, lambda like: drawn(*like.shape, seed=seed, dtype=like.dtype))
        return maps

    @property
    def x(self) -> Tensor:
        return drawn(2, *self.state().dataset.shape).clamp(-1, 1)

    def test_maps_are_finite_and_get_coarser(self) -> None:
        maps = self.maps(self.x)
        assert maps and all(m.ndim == 4 and len(m) == 2 and m.isfinite().all() for m in maps)
        sizes = [m.shape[2] for m in maps]
        assert sizes == sorted(set(sizes), reverse=True)

    def test_the_same_image_and_noise_give_the_same_maps_and_a_gradient(self) -> None:
        x = self.x.requires_grad_()
        a, b = self.maps(x), self.maps(x)
        assert all(torch.equal(m, n) for m, n in zip(a, b, strict=True))
        (grad,) = torch.autograd.grad(torch.stack([m.square().sum() for m in a]).sum(), x)
        assert grad.isfinite().all() and grad.any()


class KernelContract(ComponentContract):
    """k and its derivative, positive definite on any points."""

    kind = "kernel"
    conditionally: ClassVar[bool] = False  # positive only for weights that sum to zero, which is all the MMD needs

    @pytest.fixture
    def kernel(self) -> Kernel:
        kernel: Kernel = self.choice.build()
        return kernel

    def test_its_derivative_is_the_slope_of_its_profile(self, kernel: Kernel) -> None:
        r, h = torch.linspace(0.05, 6, 40, dtype=torch.float64, device=toys.device()), 1e-5
        _, dk = kernel.profile(r.clone())
        slope = (kernel.profile(r + h)[0] - kernel.profile(r - h)[0]) / (2 * h)
        torch.testing.assert_close(dk, slope, rtol=1e-6, atol=1e-8)

    def test_at_zero_distance_both_are_finite(self, kernel: Kernel) -> None:
        k, dk = kernel.profile(torch.zeros(3, dtype=torch.float64, device=toys.device()))
        assert k.isfinite().all() and dk.isfinite().all()

    def test_its_matrix_is_symmetric_and_positive(self, kernel: Kernel) -> None:
        a = drawn(12, 3, dtype=torch.float64)
        r = torch.cdist(a, a).square() if kernel.radial else a @ a.T
        K = kernel.profile(r)[0]
        torch.testing.assert_close(K, K.T)
        if self.conditionally:
            centre = torch.eye(12, dtype=K.dtype, device=K.device) - 1 / 12
            K = centre @ K @ centre
        lowest = float(torch.linalg.eigvalsh(K)[0])
        assert lowest > -1e-9, f"smallest eigenvalue {lowest:g}"

    def test_a_set_is_at_no_distance_from_itself_and_at_some_from_another(self, kernel: Kernel) -> None:
        a, b = drawn(9, 3, dtype=torch.float64), drawn(7, 3, seed=1, dtype=torch.float64) + 1
        assert abs(float(mmd2(a, a, kernel, 2.0, biased=True))) < 1e-12
        assert float(mmd2(a, b, kernel, 2.0, biased=True)) > 1e-3

    def test_the_distance_falls_along_its_negative_gradient(self, kernel: Kernel) -> None:
        a, b = drawn(9, 3, dtype=torch.float64).requires_grad_(), drawn(7, 3, seed=1, dtype=torch.float64) + 1
        value = mmd2(a, b, kernel, 2.0)
        (grad,) = torch.autograd.grad(value, a)
        moved = mmd2(a.detach() - 1e-6 * grad, b, kernel, 2.0)
        torch.testing.assert_close((moved - value.detach()) / 1e-6, -grad.square().sum(), rtol=1e-3, atol=1e-9)

    def test_a_radial_kernel_does_not_see_a_common_shift(self, kernel: Kernel) -> None:
        a, b = drawn(9, 3, dtype=torch.float64), drawn(7, 3, seed=1, dtype=torch.float64)
        if kernel.radial:
            torch.testing.assert_close(mmd2(a + 5, b + 5, kernel, 2.0), mmd2(a, b, kernel, 2.0), rtol=1e-9, atol=1e-12)


class AugmentContract(ComponentContract):
    """Augmented images and labels that tell what was done; all randomness is the step's."""

    kind = "augment"

    def augmented(self, first: int = 0, n: int = 8, **config: float) -> tuple[Tensor, Tensor, Tensor]:
        """x [n,C,H,W], and what becomes of it with its augment_labels, in rows first ... first+n-1."""
        state, choice = self.state(), self.choice
        step = toys.toy_step(state, "critic", first, n)
        choice = attrs.evolve(choice, config=attrs.evolve(choice.config, **config))
        return step.real, *choice.build()(step.real, step)

    def test_it_keeps_the_shape_and_gives_its_labels(self) -> None:
        x, y, labels = self.augmented()
        assert y.shape == x.shape and y.dtype == x.dtype and y.isfinite().all()
        assert labels.shape == (len(x), self.choice.build().augment_dim) and labels.isfinite().all()
        assert not torch.equal(y, x), "nothing was augmented"

    def test_all_randomness_is_the_steps(self) -> None:
        torch.manual_seed(1)
        _, y, labels = self.augmented()
        torch.manual_seed(2)
        _, again, labels_again = self.augmented()
        assert torch.equal(y, again) and torch.equal(labels, labels_again)

    def test_micro_batches_make_no_difference(self) -> None:
        _, y, labels = self.augmented()
        _, half, half_labels = self.augmented(first=4, n=4)
        torch.testing.assert_close(half, y[4:])
        torch.testing.assert_close(half_labels, labels[4:])

    def test_probability_zero_changes_nothing(self) -> None:
        if "p" in inspect.signature(self.choice.cls.Config).parameters:
            x, y, labels = self.augmented(p=0.0)
            torch.testing.assert_close(y, x, rtol=0, atol=1e-5)
            assert not labels.any()


class FeaturesContract(ComponentContract):
    """Features of a feature network by name, the same in every process."""

    kind = "features"

    @pytest.fixture
    def features(self, tmp_path: Path) -> Features:
        return self._prepared(tmp_path)

    def _prepared(self, cache: Path) -> Features:
        state = self.state()
        features: Features = self.choice.build()
        features.prepare(state.dataset, state.held_out, cache)
        return features

    def _images(self) -> Tensor:
        return self.state().dataset.images(torch.arange(6)).to(toys.device())

    def test_they_are_flat_float32_by_name(self, features: Features) -> None:
        found = features(self._images())
        assert "penultimate" in found
        assert features.layers is None or {*features.layers} == {*found}, f"layers = {features.layers}"
        for name, part in found.items():
            assert part.ndim == 2 and len(part) == 6 and part.dtype == torch.float32, name
            assert part.isfinite().all() and not part.requires_grad, name

    def test_they_do_not_depend_on_the_other_images(self, features: Features) -> None:
        x = self._images()
        for name, part in features(x).items():
            torch.testing.assert_close(features(x[2:3])[name], part[2:3], rtol=1e-4, atol=1e-5)

    def test_class_probabilities_sum_to_one_where_there_are_any(self, features: Features) -> None:
        assert type(features.distance) is str and features.distance
        if type(features).probabilities is not Features.probabilities:
            p = features.probabilities(self._images())
            assert p.ndim == 2 and p.dtype == torch.float32
            torch.testing.assert_close(p.sum(1), torch.ones_like(p[:, 0]))

    def test_what_comes_from_the_cache_is_what_was_put_there(self, features: Features, tmp_path: Path) -> None:
        found, cached = features(self._images()), self._prepared(tmp_path)(self._images())
        assert all(torch.equal(found[name], cached[name]) for name in found)

    def test_preparing_them_leaves_the_global_generator_alone(self, tmp_path: Path) -> None:
        state, features, before = self.state(), self.choice.build(), torch.get_rng_state()
        features.prepare(state.dataset, state.held_out, tmp_path / "another")
        assert torch.equal(torch.get_rng_state(), before)
