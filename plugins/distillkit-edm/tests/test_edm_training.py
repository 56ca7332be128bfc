"""EDM's loss, augmentation and teacher against the reference and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from distillkit_edm.augment import EdmAugment
from distillkit_edm.loss import EdmLoss
from distillkit_edm.networks import DdpmPP
from distillkit_edm.precond import EdmPrecond
from torch import Tensor

from distillkit.api import Choice, UsageError
from distillkit.registry import Catalog

close = torch.testing.assert_close


class Replay:
    """A step whose draws are the reference's, in its order; rows come first here, a coin is a uniform number."""

    def __init__(self, io: dict[str, Tensor], tag: str) -> None:
        kinds = [str(kind) for kind in io[f"{tag}/draw_kinds"]]
        self.draws = iter([(kind, io[f"{tag}/draw{i:02d}_{kind}"]) for i, kind in enumerate(kinds)])

    def _next(self, wanted: str, shape: tuple[int, ...]) -> Tensor:
        kind, value = next(self.draws)
        if kind == "randint":
            kind, value = "rand", value / 2 + 0.25
        assert kind == wanted
        return (value.T if value.ndim == 2 else value).reshape(-1, *shape)

    def rand(self, *shape: int) -> Tensor:
        return self._next("rand", shape)

    def randn(self, *shape: int) -> Tensor:
        return self._next("randn", shape)


class Random:
    """A step of n images with draws from torch's generator."""

    def __init__(self, n: int) -> None:
        self.n, self.g = n, torch.Generator().manual_seed(0)

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(self.n, *shape, generator=self.g)

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(self.n, *shape, generator=self.g)


@pytest.mark.parametrize(("tag", "p"), [("edm_p012", 0.12), ("edm_p1", 1.0)])
def test_augmented_images_and_labels_are_the_references(
    tag: str, p: float, edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    io = edm_data("edm_augment_io")
    step = Replay(io, tag)
    x, labels = EdmAugment(EdmAugment.Config(p=p))(io[f"{tag}/images"], step)
    close(x, io[f"{tag}/out"], rtol=0, atol=1e-4)
    close(labels, io[f"{tag}/labels"], rtol=0, atol=1e-5)
    assert next(step.draws, None) is None


def test_with_p_0_nothing_but_the_filter_touches_an_image() -> None:
    x = torch.rand(5, 1, 8, 8) * 2 - 1
    y, labels = EdmAugment(EdmAugment.Config(p=0.0))(x, Random(5))
    assert not labels.any()
    close(y, x, rtol=0, atol=0.02)


def test_mirroring_alone_mirrors_about_half_of_the_images() -> None:
    off = dict.fromkeys(("yflip", "scale", "rotate_frac", "aniso", "translate_frac"), 0.0)
    augment, x = EdmAugment(EdmAugment.Config(p=0.5, **off)), torch.randn(200, 1, 8, 8).clamp(-1, 1)
    y, labels = augment(x, Random(200))
    flipped = labels[:, 0] == 1
    assert 0.4 < flipped.float().mean() < 0.6 and not labels[:, 1:].any()
    near = torch.where(flipped[:, None, None, None], x.flip(3), x)
    assert (y - near).abs().mean() < 0.05 * (y - near.flip(3)).abs().mean()


def test_augmentation_keeps_float64() -> None:
    step = Random(2)
    step.rand = lambda *shape: torch.rand(2, *shape, dtype=torch.float64)
    step.randn = lambda *shape: torch.randn(2, *shape, dtype=torch.float64)
    y, labels = EdmAugment(EdmAugment.Config(p=1.0))(torch.zeros(2, 1, 8, 8, dtype=torch.float64), step)
    assert y.dtype == labels.dtype == torch.float64


def fixed_step(io: dict[str, Tensor], labels: Tensor | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        real=io["images"],
        labels=labels,
        lognormal_sigma=lambda P_mean, P_std: io["sigma"],
        randn_like=lambda x: io["noise"] / io["sigma"],  # recorded as sigma * n
    )


def test_the_loss_is_the_references_summed_over_an_image(edm_data: Callable[[str], dict[str, Tensor]]) -> None:
    io = edm_data("edm_loss_io")

    def generator(x: Tensor, sigma: Tensor, labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        close(x, io["x_noisy"])
        assert augment_labels is None
        return io["A"] * x + io["B"] * (1 + 0.1 * sigma.log())

    loss = EdmLoss(EdmLoss.Config()).generator_loss(SimpleNamespace(generator=generator), fixed_step(io))
    close(loss, io["loss"].flatten(1).sum(1), rtol=1e-4, atol=1e-4)
    close(loss.mean(), io["loss_scalar"], rtol=1e-4, atol=1e-4)


def test_the_noise_levels_are_lognormal_with_the_given_moments(edm_data: Callable[[str], dict[str, Tensor]]) -> None:
    io, asked = edm_data("edm_loss_io"), []
    step = fixed_step(io)
    step.lognormal_sigma = lambda P_mean, P_std: asked.append((P_mean, P_std)) or io["sigma"]
    state = SimpleNamespace(generator=lambda x, *args: x)
    EdmLoss(EdmLoss.Config(P_mean=-0.8, P_std=1.6)).generator_loss(state, step)
    assert asked == [(-0.8, 1.6)]


class Halve:
    """An augmentation that halves the image and says so in two labels."""

    augment_dim = 2

    def __init__(self, config: object) -> None:
        pass

    def __call__(self, x: Tensor, step: object) -> tuple[Tensor, Tensor]:
        return x / 2, torch.ones(len(x), 2)


def test_the_network_learns_the_augmented_image_and_is_told_its_labels(
    edm_data: Callable[[str], dict[str, Tensor]],
) -> None:
    io, labels, seen = edm_data("edm_loss_io"), torch.eye(4), []

    def generator(*args: Tensor) -> Tensor:
        seen.extend(args)
        return io["images"] / 2

    loss = EdmLoss(EdmLoss.Config(augment=Choice("augment", "halve", Halve, None)))
    value = loss.generator_loss(SimpleNamespace(generator=generator), fixed_step(io, labels))
    assert not value.any()
    close(seen[0], io["images"] / 2 + io["noise"])
    assert torch.equal(seen[2], labels) and torch.equal(seen[3], torch.ones(4, 2))


def test_a_network_without_the_augmentations_labels_is_a_usage_error() -> None:
    loss = EdmLoss(EdmLoss.Config(augment=Choice("augment", "halve", Halve, None)))
    loss.setup(SimpleNamespace(generator=SimpleNamespace(augment_dim=2)))
    with pytest.raises(UsageError, match="write augment_dim = 2"):
        loss.setup(SimpleNamespace(generator=SimpleNamespace(augment_dim=9)))


def test_training_lowers_the_loss_of_a_tiny_network() -> None:
    torch.manual_seed(0)
    net = DdpmPP(DdpmPP.Config(model_channels=8, channel_mult=(1, 2), num_blocks=1, dropout=0.0)).module(8, 1, 0)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    step = Random(32)
    step.real, step.labels = torch.ones(32, 1, 8, 8) * 0.5, None
    step.randn_like = lambda x: step.randn(*x.shape[1:])
    step.lognormal_sigma = lambda P_mean, P_std: (P_mean + P_std * step.randn(1, 1, 1)).exp()
    loss, values = EdmLoss(EdmLoss.Config()), []
    for _ in range(30):
        value = loss.generator_loss(SimpleNamespace(generator=net), step).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert math.fsum(values[-5:]) < 0.5 * math.fsum(values[:5])


def test_the_teacher_loads_its_checkpoint_frozen_and_denoises_without_augmentation(
    edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    cls = Catalog.installed().load("teacher_score", "network")
    net, io, asked = edm_tiny("sid_tiny").requires_grad_(True).train(), edm_data("sid_tiny_io"), []
    state = SimpleNamespace(
        device=torch.device("cpu"), dtype=torch.float64, load_network=lambda path: asked.append(path) or net
    )
    teacher = cls(cls.Config(checkpoint="runs/0001/result"))
    teacher.setup(state)
    assert asked == ["runs/0001/result"] and teacher.network is net
    x = io["x"].double().requires_grad_(True)
    D = teacher.teacher_score(x, io["sigma"].double().reshape(-1, 1, 1, 1), io["class_labels"])
    close(D, io["denoised_augment_zeros"].double(), rtol=1e-4, atol=1e-5)
    D.sum().backward()
    assert x.grad is not None and all(p.grad is None for p in net.parameters())
