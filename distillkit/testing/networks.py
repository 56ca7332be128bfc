"""Contract of an architecture."""

from __future__ import annotations

import copy
from typing import ClassVar

import attrs
import pytest
import torch
from torch import Tensor

from distillkit.api import (
    DenoisedFeatures,
    Denoiser,
    EncoderDecoder,
    EncoderFeatures,
    FlowMap,
    ForcedNormalization,
    Layout,
    LogVar,
    UsageError,
)
from distillkit.noise import masks
from distillkit.testing import toys
from distillkit.testing.component import ComponentContract
from distillkit.train.jvp import dual

ATTRIBUTES = (
    "resolution", "channels", "label_dim", "augment_dim", "sigma_min", "sigma_max", "sigma_data", "compute_dtype",
)  # fmt: skip
N = 3


class NetworkContract(ComponentContract):
    """A denoiser D(x; sigma, labels) for any image shape, whose rows do not see each other."""

    kind = "network"
    shapes: ClassVar[tuple[tuple[int, int, int], ...]] = ((8, 2, 3), (16, 3, 0))  # resolution, channels, label_dim
    layout: ClassVar[Layout | None] = None  # of the labels, in place of the shapes' label_dim, where they are words

    def module(self, resolution: int, channels: int, label_dim: int, seed: int = 0) -> Denoiser:
        label_dim = self.layout.size if self.layout else label_dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net: Denoiser = self.choice.build().module(resolution, channels, label_dim)
            return toys.perturbed(net).eval().to(toys.device())

    def inputs(self, net: Denoiser, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor | None]:
        """x [N,C,H,W], sigma [N,1,1,1], labels [N,L] | None."""
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(N, net.channels, net.resolution, net.resolution, generator=generator)
        labels = self.labels(net.label_dim, generator)
        sigma = torch.tensor([0.1, 1.0, 20.0], dtype=dtype).reshape(N, 1, 1, 1)
        here = toys.device()
        return x.to(here, dtype), sigma.to(here), None if labels is None else labels.to(here, dtype)

    def labels(self, label_dim: int, generator: torch.Generator) -> Tensor | None:
        """Labels [N,L]: classes in turn or, where there is a layout, random numbers, each row with one word less."""
        if self.layout is None:
            return torch.eye(label_dim)[torch.arange(N) % label_dim] if label_dim else None
        asked = self.layout.unpack(torch.randn(N, label_dim, generator=generator))
        there = torch.arange(self.layout.tokens) < self.layout.tokens - torch.arange(N)[:, None]
        return self.layout.pack(attrs.evolve(asked, mask=there.float() if self.layout.tokens else None))

    @pytest.fixture
    def net(self) -> Denoiser:
        return self.module(*self.shapes[0])

    def test_it_is_made_for_any_image_shape_and_says_for_which(self) -> None:
        for shape in self.shapes:
            net = self.module(*shape)
            assert [name for name in ATTRIBUTES if not hasattr(net, name)] == []
            assert (net.resolution, net.channels) == shape[:2]
            assert net.label_dim == (self.layout.size if self.layout else shape[2])
            x, sigma, labels = self.inputs(net)
            D = net(x, sigma, labels)
            assert D.shape == x.shape and D.dtype == x.dtype and D.isfinite().all()

    def test_sigma_may_be_one_number_for_all(self, net: Denoiser) -> None:
        x, _, labels = self.inputs(net)
        D = net(x, x.new_full((N, 1, 1, 1), 0.7), labels)
        for sigma in (torch.tensor(0.7), x.new_full((1, 1, 1, 1), 0.7)):
            torch.testing.assert_close(net(x, sigma, labels), D)

    def test_it_depends_on_image_noise_level_and_labels(self, net: Denoiser) -> None:
        x, sigma, labels = self.inputs(net)
        D = net(x, sigma, labels)
        assert not torch.equal(net(x + 0.1, sigma, labels), D)
        assert not torch.equal(net(x, 2 * sigma, labels), D)
        if labels is not None:
            assert not torch.equal(net(x, sigma, labels.roll(1, 0)), D)

    def test_rows_do_not_see_each_other(self, net: Denoiser) -> None:
        net = net.to(torch.float64)
        x, sigma, labels = self.inputs(net, torch.float64)
        D = net(x, sigma, labels)
        for i in range(N):
            row = slice(i, i + 1)
            alone = net(x[row], sigma[row], None if labels is None else labels[row])
            torch.testing.assert_close(alone, D[row], rtol=1e-10, atol=1e-10)

    def test_it_runs_in_double_precision(self, net: Denoiser) -> None:
        D = net(*self.inputs(net))
        D64 = net.to(torch.float64)(*self.inputs(net, torch.float64))
        assert D64.dtype == torch.float64
        torch.testing.assert_close(D64.float(), D, rtol=1e-3, atol=1e-3)

    def test_no_labels_are_labels_of_zeros(self, net: Denoiser) -> None:
        x, sigma, labels = self.inputs(net)
        if labels is not None:
            torch.testing.assert_close(net(x, sigma, None), net(x, sigma, torch.zeros_like(labels)))
        if net.augment_dim:
            zeros = x.new_zeros(N, net.augment_dim)
            torch.testing.assert_close(net(x, sigma, labels), net(x, sigma, labels, zeros))

    def test_weights_come_from_the_global_generator(self) -> None:
        shape = self.shapes[0]
        a, b, other = (self.module(*shape, seed=seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert any(not torch.equal(a[name], other[name]) for name in a)

    def test_weights_survive_saving_and_copies_are_equal(self, net: Denoiser) -> None:
        twin = self.module(*self.shapes[0], seed=1)
        twin.load_state_dict(net.state_dict())
        inputs = self.inputs(net)
        assert torch.equal(twin(*inputs), net(*inputs))
        assert torch.equal(copy.deepcopy(net)(*inputs), net(*inputs))

    def test_gradients_reach_the_image_when_the_weights_are_frozen(self, net: Denoiser) -> None:
        net.requires_grad_(False)
        x, sigma, labels = self.inputs(net)
        net(x.requires_grad_(), sigma, labels).square().sum().backward()
        assert x.grad is not None and x.grad.isfinite().all() and x.grad.flatten(1).any(1).all()

    def test_every_weight_gets_a_gradient(self, net: Denoiser) -> None:
        net.requires_grad_(True)
        x, sigma, labels = self.inputs(net)
        augment_labels = x.new_ones(N, net.augment_dim) if net.augment_dim else None
        further = {"r": sigma / 2} if isinstance(net, FlowMap) and net.second_time else {}
        net(x, sigma, labels, augment_labels, **further).square().sum().backward()
        unused = [name for name, p in net.named_parameters() if p.grad is None]
        assert not unused, f"no gradient: {', '.join(unused)}"

    def test_it_has_a_derivative_in_training_or_says_that_it_has_none(self, net: Denoiser) -> None:
        net = net.to(torch.float64).train()
        x, sigma, labels = self.inputs(net, torch.float64)
        v, s = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).to(x), 0.3 * sigma

        def D(x: Tensor, sigma: Tensor) -> Tensor:
            with masks(0, 0, N, x.device):
                return net(x, sigma, labels)

        try:
            _, derivative = dual(D, (x, sigma), (v, s))
        except UsageError:
            return
        h = 1e-5
        with torch.no_grad():
            difference = (D(x + h * v, sigma + h * s) - D(x - h * v, sigma - h * s)) / (2 * h)
        torch.testing.assert_close(derivative, difference, rtol=1e-5, atol=1e-5)

    def test_layers_in_bfloat16_still_give_the_dtype_of_the_weights(self, net: Denoiser) -> None:
        inputs = self.inputs(net)
        D = net(*inputs)
        net.compute_dtype = torch.bfloat16
        half = net(*inputs)
        assert half.dtype == D.dtype and half.isfinite().all()
        assert not torch.equal(half, D), "compute_dtype changes nothing"
        # Where the noise is subtracted from the image, as by networks that predict it, its rounding is of its size.
        wrong = (half - D).abs() / (D.abs() + inputs[1].to(D).clamp(min=1))
        assert wrong.max() <= 0.1, f"of |D| + max(1, sigma), bfloat16 changes {wrong.max():.3g}; at most 0.1"

    def test_a_second_noise_level_is_where_it_jumps_to(self, net: Denoiser) -> None:
        if not isinstance(net, FlowMap):
            return
        x, sigma, labels = self.inputs(net)
        if not net.second_time:
            with pytest.raises((UsageError, TypeError, ValueError)):
                net(x, sigma, labels, r=sigma / 2)
            return
        D = net(x, sigma, labels)
        torch.testing.assert_close(net(x, sigma, labels, r=sigma), D)  # nowhere: what is denoised as ever
        one, level = x.new_full((N, 1, 1, 1), 0.7), x.new_full((N, 1, 1, 1), 0.3)
        jump = net(x, one, labels, r=level)
        for r in (0.3, torch.tensor(0.3).to(x), level[:1], level.flatten()[:1]):
            torch.testing.assert_close(net(x, one, labels, r=r), jump)
        to_end = net(x, sigma, labels, r=0.0)
        assert to_end.shape == x.shape and to_end.dtype == D.dtype and to_end.isfinite().all()
        for r in (sigma / 2, sigma * 0):
            assert not torch.equal(net(x, sigma, labels, r=r), D), "r changes nothing"
            alone = net(x[1:2], sigma[1:2], None if labels is None else labels[1:2], r=r[1:2])
            torch.testing.assert_close(alone, net(x, sigma, labels, r=r)[1:2], rtol=1e-4, atol=1e-4)

    def test_what_it_can_do_besides_is_as_the_api_describes_it(self, net: Denoiser) -> None:
        x, sigma, labels = self.inputs(net)
        D = net(x, sigma, labels)
        if isinstance(net, EncoderFeatures):
            maps = net.encoder_features(x, sigma, labels)
            sizes = [m.shape[2] for m in maps]
            assert maps and sizes == sorted(sizes, reverse=True), f"finest first, not {sizes}"
            assert all(m.ndim == 4 and len(m) == N and m.dtype == D.dtype for m in maps)
        if isinstance(net, DenoisedFeatures):
            torch.testing.assert_close(net.denoised_features(x, sigma, labels), (D, maps))
        if isinstance(net, EncoderDecoder):
            logits = net.encoder(x, sigma, labels)
            assert logits.ndim == 4 and logits.shape[:2] == (N, 1) and logits.dtype == D.dtype
            both = net.encoder_decoder(x, sigma, labels)
            torch.testing.assert_close(both, (D, logits))
        if isinstance(net, LogVar) and net.logvar_channels:
            for level, n in ((torch.tensor(0.7), 1), (x.new_full((N,), 0.7), N), (sigma, N)):
                assert net.logvar(level).shape == (n, 1, 1, 1)
            assert net.logvar(sigma).requires_grad, "the estimated error does not train"
        if isinstance(net, ForcedNormalization):
            net.force_normalization(False)
            assert torch.equal(net(x, sigma, labels), D), "normalization changes what is computed"
