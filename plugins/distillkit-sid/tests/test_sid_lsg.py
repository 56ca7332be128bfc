"""Guidance of the fake score against the numbers of SiD-LSG's own functions, and what it does in a run."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from distillkit_sid.sid import Sid, sid_loss, sid_weight
from torch import Tensor

from distillkit.api import Layout, UsageError
from distillkit.builtin import few_step
from distillkit.testing import toy_state
from distillkit.testing.training import run

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}
KAPPAS = {
    "k2_a1": (2.0, 2.0, 1.0),
    "k1_a12": (1.0, 1.0, 1.2),
    "k15_2step": (1.5, 1.5, 1.0),
    "k4_4step": (1.0, 4.5, 1.0),
}


class VpEps:
    """eps = A sin(x) + B (1 + t/1000) + .05 c on the VP schedule, as a denoiser; c of zeros is "none"."""

    def __init__(self, A: Tensor, B: Tensor, abar: Tensor, t: Tensor) -> None:
        self.A, self.B, self.abar, self.t = A, B, abar[t].view(-1, 1, 1, 1), t.view(-1, 1, 1, 1)

    @property
    def sigma(self) -> Tensor:
        return ((1 - self.abar) / self.abar).sqrt()

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor, augment_labels: Tensor | None = None) -> Tensor:
        eps = self.A * (x * self.abar.sqrt()).sin() + self.B * (1 + self.t / 1000) + 0.05 * labels.view(-1, 1, 1, 1)
        return x - sigma * eps


@pytest.fixture
def data() -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "data" / "sid_lsg_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def method(fake: VpEps, **keys: float) -> Sid:
    loss = Sid(Sid.Config(**keys))
    loss.fake_score, loss._layout = cast(Any, fake), Layout(classes=1)
    return loss


def draws(data: dict[str, Tensor], tag: str) -> tuple[Tensor, Tensor]:
    """t and the unit noise at it, which is drawn before."""
    return data[f"{tag}_draw02_randint"], data[f"{tag}_draw01_randn_like"]


@pytest.mark.parametrize("tag", KAPPAS)
def test_the_generators_loss_is_the_authors(data: dict[str, Tensor], tag: str) -> None:
    (_, kappa, alpha), (t, n) = KAPPAS[tag], draws(data, tag)
    fake, teacher = (VpEps(data[f"A{one}"], data[f"B{one}"], data["alphas_cumprod"], t) for one in "ft")
    x, labels = data[f"{tag}_x"].clone().requires_grad_(), torch.arange(1.0, len(t) + 1)[:, None]
    x_sigma = x + fake.sigma * n
    D_fake = method(fake, kappa_generator=kappa).guided("kappa_generator")(x_sigma, fake.sigma, labels)
    D_real = method(teacher, kappa_generator=kappa).guided("kappa_generator")(x_sigma, fake.sigma, labels)
    torch.testing.assert_close(D_fake, data[f"{tag}_D_fake"], **CLOSE)
    torch.testing.assert_close(D_real, data[f"{tag}_D_real"], **CLOSE)
    loss = sid_loss(x, D_real, D_fake, alpha, sid_weight(x, D_real, 1e-5))
    torch.testing.assert_close(loss, data[f"{tag}_loss"], **CLOSE)
    total = loss.sum() / len(x)
    torch.testing.assert_close(total, data[f"{tag}_total"], **CLOSE)
    (grad,) = torch.autograd.grad(total, x)
    torch.testing.assert_close(grad, data[f"{tag}_grad_x"], **CLOSE)


@pytest.mark.parametrize("tag", KAPPAS)
def test_several_steps_and_the_gradient_through_them_are_the_authors(
    data: dict[str, Tensor], tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of `few-step` at their times, and what the loss's gradient at x is to the student."""
    first = 999 if tag == "k4_4step" else 625
    steps = {"k15_2step": 2, "k4_4step": 4}.get(tag, 1)
    student, times = VpEps(data["A"], data["B"], data["alphas_cumprod"], torch.tensor([0])), iter(range(steps))
    student.A.requires_grad_(), student.B.requires_grad_()
    sigmas = tuple(float((1 / data["alphas_cumprod"][int(first * (1 - i / steps))] - 1).sqrt()) for i in range(steps))

    def G(x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        t = torch.full((len(x),), int(first * (1 - next(times) / steps)))
        return VpEps(student.A, student.B, data["alphas_cumprod"], t)(x, sigma, labels)

    fresh = [data[key] for key in sorted(data) if re.match(rf"{tag}_draw\d+_randn_like", key)]
    monkeypatch.setattr(few_step, "own_noise", lambda z, seed: lambda i: fresh[i])
    sampler = few_step.FewStep(few_step.FewStep.Config(sigmas=sigmas, sigma_min=0.0, clamp=False))
    labels, z = torch.arange(1.0, len(fresh[0]) + 1)[:, None], data[f"{tag}_draw00_randn"]
    x = sampler.sample(cast(Any, SimpleNamespace(generator=G, seed=0)), z, labels)
    torch.testing.assert_close(x, data[f"{tag}_x"], rtol=1e-4, atol=1e-3)
    at_A, at_B = torch.autograd.grad(x, (student.A, student.B), data[f"{tag}_grad_x"])
    torch.testing.assert_close(at_A, data[f"{tag}_grad_A"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(at_B, data[f"{tag}_grad_B"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tag", KAPPAS)
def test_the_fake_score_trains_guided_as_the_authors(data: dict[str, Tensor], tag: str) -> None:
    (kappa, _, _), (t, n) = KAPPAS[tag], draws(data, tag)
    fake, x = VpEps(data["Af"], data["Bf"], data["alphas_cumprod"], t), data[f"{tag}_x"]
    x_sigma, labels = x + fake.sigma * n, torch.arange(1.0, len(t) + 1)[:, None]
    D = method(fake, kappa_critic=kappa).guided("kappa_critic")(x_sigma, fake.sigma, labels)
    torch.testing.assert_close((x_sigma - D) / fake.sigma, data[f"{tag}_fake_eps"], **CLOSE)
    error = ((D - x) / fake.sigma).square().sum() / len(x)
    torch.testing.assert_close(error, data[f"{tag}_fake_loss"], **CLOSE)


def test_both_passes_of_guidance_see_the_augmentations_labels() -> None:
    """Else what the fake score is guided away from would be other images."""
    loss, asked = Sid(Sid.Config(kappa_critic=2.0)), []

    def fake(x: Tensor, sigma: Tensor, labels: Tensor, augment_labels: Tensor | None = None) -> Tensor:
        asked.append((labels, augment_labels))
        return x * (1 + labels.sum(1).view(-1, 1, 1, 1))

    loss.fake_score, loss._layout = cast(Any, fake), Layout(classes=2)
    x, labels, augmented = torch.ones(3, 1, 2, 2), torch.eye(2)[[0, 1, 0]], torch.randn(3, 4)
    D = loss.guided("kappa_critic")(x, torch.ones(3, 1, 1, 1), labels, augmented)
    assert all(one is augmented for _, one in asked)
    assert not asked[0][0].any() and torch.equal(asked[1][0], labels)
    torch.testing.assert_close(D, torch.full_like(x, 3.0))  # 1, 2: as far again


def test_guidance_of_the_fake_score_is_another_loss_and_trains() -> None:
    plain, lsg = (toy_state(generator_loss={"use": "sid", **keys}) for keys in ({}, {"kappa_generator": 3.0}))
    first = [run(one, 1).networks for one in (plain, lsg)]
    fake, generator = (
        [torch.cat([p.flatten() for p in nets[name].parameters()]) for nets in first]
        for name in ("fake_score", "generator")
    )
    assert torch.equal(*fake) and not torch.equal(*generator)


def test_one_pass_for_both_losses_takes_one_kappa() -> None:
    with pytest.raises(UsageError, match="give one kappa twice"):
        toy_state(generator_loss={"use": "sid", "shared_forward": True, "kappa_generator": 2.0})
    state = toy_state(
        generator_loss={"use": "sid", "shared_forward": True, "kappa_generator": 2.0, "kappa_critic": 2.0}
    )
    assert not run(state, 1).skipped


def test_it_needs_labels() -> None:
    with pytest.raises(UsageError, match="by labels, and there are none"):
        toy_state(generator_loss={"use": "sid", "kappa_critic": 2.0}, dataset={"label_dim": 0})
