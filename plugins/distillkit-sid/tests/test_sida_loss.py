"""SiDA against the reference's numbers, its warm-up gates, and what it says of a network without an encoder."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distillkit_sid.sida import Sida, bce
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from distillkit.api import UsageError
from distillkit.train import iterate

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


class Stub(nn.Module):
    """D(x, sigma) = A x + B (1 + 0.1 ln sigma), logits 3 mean_c(C x) at every second pixel."""

    def __init__(self, A, B, C):
        super().__init__()
        self.A, self.B, self.C = nn.Parameter(A), nn.Parameter(B), nn.Parameter(C)
        self.seen, self.D, self.logits = [], [], []

    def forward(self, x, sigma, labels=None, augment_labels=None):
        self.seen.append(x)
        self.D.append(self.A * x + self.B * (1 + 0.1 * sigma.log()))
        return self.D[-1]

    def encoder(self, x, sigma, labels=None, augment_labels=None):
        self.seen.append(x)
        self.logits.append((self.C * x).mean(1, keepdim=True)[:, :, ::2, ::2] * 3)
        return self.logits[-1]

    def encoder_decoder(self, x, sigma, labels=None, augment_labels=None):
        logits = self.encoder(x, sigma)
        self.seen.pop()
        return self(x, sigma), logits


class ReplayStep:
    """A step whose draws are the recorded ones; the file holds sigma * n."""

    labels = None

    def __init__(self, x, sigma, scaled, real=None, nimg=200_001):
        self.x, self.sigma, self.scaled, self.real, self.nimg = x, sigma, scaled, real, nimg

    def lognormal_sigma(self, P_mean, P_std):
        return self.sigma

    def randn_like(self, x):
        return self.scaled / self.sigma


class FakeState:
    generator = None

    def __init__(self, fake_score):
        self.teacher, self.fake_score, self.records = SimpleNamespace(network=fake_score), fake_score, {}

    def add_network(self, name, start, optimizer):
        self.optimizer = optimizer
        return self.fake_score

    def record(self, name, value):
        self.records[name] = float(value.detach())


@pytest.fixture
def data():
    with np.load(Path(__file__).parent / "data" / "sida_loss_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


@pytest.fixture
def fake(data):
    return Stub(data["A_fake"], data["B_fake"], data["C_fake"])


@pytest.fixture
def teacher(data):
    return Stub(data["A_true"], data["B_true"], data["C_fake"]).requires_grad_(False)


def ready(fake, **config):
    loss = Sida(Sida.Config(**config))
    state = FakeState(fake)
    loss.setup(state)
    loss.generator_sigma = lambda step: step.sigma  # the recorded levels; the grid has a test of its own
    return loss, state


def generator_step(data, **more):
    return ReplayStep(data["images"].clone().requires_grad_(), data["g_sigma"], data["g_noise"], **more)


def test_the_generator_loss_and_its_gradient_are_the_references(data, fake, teacher):
    loss, state = ready(fake.requires_grad_(False))
    step = generator_step(data)
    total = loss.generator_loss(state, step, teacher).sum() / 4
    total.backward()
    torch.testing.assert_close(fake.seen[0], data["g_x_noisy"], **CLOSE)
    torch.testing.assert_close(fake.D[0], data["g_y_fake"], **CLOSE)
    torch.testing.assert_close(teacher.D[0], data["g_y_real"], **CLOSE)
    torch.testing.assert_close(fake.logits[0], data["g_logits"], **CLOSE)
    torch.testing.assert_close(total, data["g_total"], **CLOSE)
    torch.testing.assert_close(step.x.grad, data["g_grad_images"], rtol=1e-4, atol=1e-3)
    assert state.records["loss/adversarial"] == pytest.approx(float(data["g_loss_gan_scalar_0p01"]), rel=1e-4)


def test_either_half_of_the_generator_loss_is_the_references(data, fake, teacher):
    loss, state = ready(fake, lsg_gan=0.0)
    sid = 2 * loss.generator_loss(state, generator_step(data), teacher)
    torch.testing.assert_close(sid / 100, data["g_loss_sid"].flatten(1).sum(1), **CLOSE)
    torch.testing.assert_close(sid.sum() / 4, data["g_loss_sid_scalar_lsg100"], **CLOSE)
    loss, state = ready(fake, lsg_gan=1 / 192)  # 192 pixels
    gan = 2 * loss.generator_loss(state, generator_step(data), teacher) - sid
    torch.testing.assert_close(gan, data["g_loss_gan_raw"].flatten(), rtol=1e-3, atol=1e-2)


def test_the_fake_score_and_discriminator_loss_and_their_gradients_are_the_references(data, fake):
    loss, state = ready(fake)
    step = ReplayStep(data["images"], data["d_sigma"], data["d_noise"], data["real_images"])
    per_image = loss.critic_loss(state, step)
    (per_image.sum() / 4).backward()
    torch.testing.assert_close(fake.seen[0], data["d_x_noisy"], **CLOSE)
    torch.testing.assert_close(fake.seen[1], data["real_images"] + data["d_noise_real"], **CLOSE)
    torch.testing.assert_close(fake.D[0], data["d_y_fake"], **CLOSE)
    torch.testing.assert_close(fake.logits[0], data["d_logit_fake"], **CLOSE)
    torch.testing.assert_close(fake.logits[1], data["d_logit_real"], **CLOSE)
    want = data["d_loss_fake_score"].flatten(1).sum(1) + data["d_loss_D"].flatten()
    torch.testing.assert_close(per_image, want, **CLOSE)
    scalar = data["d_loss_fake_score_scalar"] + data["d_loss_D_scalar"]
    torch.testing.assert_close(per_image.sum() / 4, scalar, **CLOSE)
    assert state.records["loss/discriminator"] == pytest.approx(float(data["d_loss_D_scalar"]), rel=1e-4)
    torch.testing.assert_close(fake.B.grad, data["d_grad_B"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(fake.C.grad, data["d_grad_C"], rtol=1e-4, atol=1e-3)


def test_the_adversary_joins_after_its_gate_and_only_then_halves_the_sid_loss(data, fake, teacher):
    loss, state = ready(fake, gan_after_kimg=0.5)
    before = loss.generator_loss(state, generator_step(data, nimg=500), teacher)
    after = loss.generator_loss(state, generator_step(data, nimg=501), teacher)
    torch.testing.assert_close(before, data["g_loss_sid"].flatten(1).sum(1) * 100, **CLOSE)
    torch.testing.assert_close(after.sum() / 4, data["g_total"], **CLOSE)


@pytest.mark.parametrize("after", [100.0, 0.64, 0.0])
def test_the_generator_waits_until_more_images_than_its_gate_were_seen(fake, after):
    _, state = ready(fake, generator_after_kimg=after)
    fake_score, generator = state.turns
    state.iteration, gate = 0, round(after * 1000)
    for state.nimg in (0, 1, gate, gate + 1, 2 * gate):
        assert iterate.due(state, fake_score)
        assert iterate.due(state, generator) == (state.nimg > gate or gate == 0)


def test_the_fake_scores_gradients_are_clipped(fake):
    _, state = ready(fake)
    assert state.optimizer.clip_value == 1.0
    assert Sida.recipe_defaults["generator"]["optimizer"].get("clip_value") is None


def test_a_dropped_image_leaves_the_same_losses_to_the_others(data, fake, teacher):
    """Four images, one with NaN logits, against the other three alone, with the divisor of four."""
    keep = [0, 1, 3]
    spoilt = copy.deepcopy(fake)
    spoilt.C.data[2] = torch.nan
    others = Stub(data["A_fake"][keep], data["B_fake"][keep], data["C_fake"][keep])
    teacher_of_others = Stub(data["A_true"][keep], data["B_true"][keep], data["C_fake"][keep])
    loss, state = ready(spoilt, nonfinite_images="drop")
    step = generator_step(data)
    dropped = loss.generator_loss(state, step, teacher)
    loss_of_others, _ = ready(others)
    alone_step = ReplayStep(data["images"][keep].requires_grad_(), data["g_sigma"][keep], data["g_noise"][keep])
    alone = loss_of_others.generator_loss(state, alone_step, teacher_of_others)
    torch.testing.assert_close(dropped[keep], alone)
    assert dropped[2] == 0 and state.records["dropped_images"] == 1
    dropped.sum().backward()
    alone.sum().backward()
    torch.testing.assert_close(step.x.grad[keep], alone_step.x.grad)
    assert step.x.grad[2].abs().max() == 0

    def critic(loss, rows):
        fixed = {key: data[key][rows] for key in ("images", "d_sigma", "d_noise", "real_images")}
        return loss.critic_loss(state, ReplayStep(*fixed.values()))

    everyone, three = critic(loss, [0, 1, 2, 3]), critic(loss_of_others, keep)
    torch.testing.assert_close(everyone[keep], three)
    assert everyone[2] == 0


def test_bce_is_the_binary_cross_entropy_with_logits():
    logits = torch.linspace(-30, 30, 32).view(2, 1, 4, 4)
    for target in (0, 1):
        want = binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
        torch.testing.assert_close(bce(logits, target, torch.ones(2, dtype=torch.bool)), want)


def test_a_network_without_an_encoder_is_refused_by_name():
    with pytest.raises(UsageError, match="Linear has none"):
        ready(nn.Linear(2, 2))
