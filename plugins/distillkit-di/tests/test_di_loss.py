"""Diff-Instruct against the reference's numbers, and the properties that its equations promise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distillkit_di.di import DiffInstruct
from torch import nn

from distillkit import noise
from distillkit.api import Choice
from distillkit.builtin.mixture import MixtureConfig, MixtureTeacher

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


class Stub(nn.Module):
    """D(x, sigma) = A x + B (1 + 0.1 ln sigma); remembers what went in and out."""

    def __init__(self, A, B):
        super().__init__()
        self.A, self.B, self.calls = nn.Parameter(A), nn.Parameter(B), []

    def forward(self, x, sigma, labels=None, augment_labels=None):
        D = self.A * x + self.B * (1 + 0.1 * sigma.log())
        if D.requires_grad:
            D.retain_grad()
        self.calls.append(SimpleNamespace(x=x, D=D, augment_labels=augment_labels, training=self.training))
        return D


class Dropped(nn.Module):
    """Dropout on the image."""

    def forward(self, x, sigma, labels=None, augment_labels=None):
        return nn.functional.dropout(x, 0.5, self.training)


class ReplayStep:
    """A step whose draws are the recorded ones; the file holds sigma * n."""

    labels, nimg, first = None, 0, 0

    def __init__(self, x, sigma, scaled):
        self.x, self.sigma, self.scaled = x, sigma, scaled

    def lognormal_sigma(self, P_mean, P_std):
        self.asked = P_mean, P_std
        return self.sigma

    def randn_like(self, x):
        return self.scaled / self.sigma


class FakeState:
    seed = 0

    def __init__(self, teacher_network, fake_score):
        self.teacher, self.fake_score = SimpleNamespace(network=teacher_network), fake_score

    def add_network(self, name, start, optimizer):
        self.start, self.optimizer = start, optimizer
        return self.fake_score


@pytest.fixture
def data():
    with np.load(Path(__file__).parent / "data" / "di_loss_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def ready(teacher, fake, **config):
    loss, state = DiffInstruct(DiffInstruct.Config(**config)), FakeState(teacher, fake)
    loss.setup(state)
    return loss, state


def stubs(data):
    teacher = Stub(data["A_teacher"], data["B_teacher"]).requires_grad_(False)
    return teacher, Stub(data["A_fake"], data["B_fake"])


def test_the_generator_loss_and_its_gradient_are_the_references(data):
    teacher, fake = stubs(data)
    loss, state = ready(teacher, fake)
    step = ReplayStep(data["images"].clone().requires_grad_(), data["g_sigma"], data["g_noise"])
    per_image = loss.generator_loss(state, step, teacher)
    total = per_image.sum() / 4
    total.backward()
    assert step.asked == (-1.2, 1.2)
    torch.testing.assert_close(fake.calls[0].x, data["g_x_noisy"], **CLOSE)
    torch.testing.assert_close(teacher.calls[0].x, data["g_x_noisy"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D, data["g_D_fake"], **CLOSE)
    torch.testing.assert_close(teacher.calls[0].D, data["g_D_teacher"], **CLOSE)
    torch.testing.assert_close(per_image, data["g_loss_per_sample"], **CLOSE)
    torch.testing.assert_close(total, data["g_loss_scalar"], **CLOSE)
    torch.testing.assert_close(step.x.grad, data["g_grad_images"], **CLOSE)
    assert fake.A.grad is None


def test_the_fake_score_loss_and_its_gradient_are_the_references(data):
    teacher, fake = stubs(data)
    loss, _ = ready(teacher, fake)
    per_image = loss.critic_loss(ReplayStep(data["images"], data["fs_sigma"], data["fs_noise"]))
    (per_image.sum() / 4).backward()
    torch.testing.assert_close(fake.calls[0].x, data["fs_x_noisy"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D, data["fs_D_fake"], **CLOSE)
    torch.testing.assert_close(per_image, data["fs_loss"].flatten(1).sum(1), **CLOSE)
    torch.testing.assert_close(per_image.sum() / 4, data["fs_loss_scalar"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D.grad, data["fs_grad_D_fake"], **CLOSE)


def analytic_score(config, x_t, sigma):
    """grad log p_t of the mixture, by autograd of its density."""
    x_t = x_t.clone().requires_grad_()
    points, variance = x_t.flatten(1), config.std**2 + sigma.reshape(-1, 1) ** 2
    distance = (points[:, None] - config.means(x_t)[None]).square().sum(2)
    return torch.autograd.grad((-0.5 * distance / variance).logsumexp(1).sum(), x_t)[0]


@pytest.mark.parametrize("weight", ["one", "code"])
def test_against_the_closed_form_teacher_the_gradient_is_the_difference_of_analytic_scores(weight):
    real, fake = MixtureConfig(), MixtureConfig(modes=3, radius=0.4, std=0.2)

    def denoiser(config):
        return lambda x, sigma, labels=None: MixtureTeacher(config).teacher_score(None, x, sigma, labels)

    generator = torch.Generator().manual_seed(0)
    x, n = (torch.randn(32, 2, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    sigma = torch.linspace(-3, 1, 32, dtype=torch.float64).exp().view(-1, 1, 1, 1)
    loss, state = ready(None, denoiser(fake), weight=weight, shared_dropout=False)
    step = ReplayStep(x.clone().requires_grad_(), sigma, sigma * n)
    loss.generator_loss(state, step, denoiser(real)).sum().backward()
    x_t, w = x + sigma * n, sigma**2 if weight == "code" else 1
    gap = analytic_score(fake, x_t, sigma) - analytic_score(real, x_t, sigma)
    torch.testing.assert_close(step.x.grad, w * gap, rtol=1e-8, atol=1e-8)


def test_the_two_scores_share_their_dropout_masks(data):
    teacher, fake = Dropped(), Dropped()
    loss, state = ready(teacher, fake)
    x = data["images"].clone().requires_grad_()
    step = ReplayStep(x, data["g_sigma"], data["g_noise"])
    assert loss.generator_loss(state, step, teacher).abs().max() == 0  # equal masks cancel
    spoilt, _ = ready(fake, Stub(*2 * [torch.ones_like(x)]))
    assert spoilt.generator_loss(state, step, teacher).abs().max() > 0
    assert not teacher.training and not fake.training


def test_dropout_is_on_for_both_scores_or_for_neither(data):
    for shared in (True, False):
        teacher, fake = stubs(data)
        loss, state = ready(teacher, fake, shared_dropout=shared)
        teacher.eval(), fake.eval()
        loss.generator_loss(state, ReplayStep(data["images"], data["g_sigma"], data["g_noise"]), teacher)
        assert [net.calls[0].training for net in (teacher, fake)] == [shared, shared]
        assert not teacher.training and not fake.training


def test_only_the_fake_score_sees_augmented_images_and_it_is_told(data):
    class Flip:
        def __init__(self, config):
            pass

        def __call__(self, x, step):
            return x.flip(3), torch.ones(len(x), 9)

    teacher, fake = stubs(data)
    loss, state = ready(teacher, fake, augment=Choice("augment", "flip", Flip, None))
    loss.critic_loss(ReplayStep(data["images"], data["fs_sigma"], data["fs_noise"]))
    torch.testing.assert_close(fake.calls[0].x, data["images"].flip(3) + data["fs_noise"])
    assert fake.calls[0].augment_labels.shape == (4, 9)
    loss.generator_loss(state, ReplayStep(data["images"], data["g_sigma"], data["g_noise"]), teacher)
    assert fake.calls[1].augment_labels is None


def test_the_published_constants_are_the_defaults(data):
    loss, state = ready(*stubs(data))
    assert (state.optimizer.name, state.optimizer.lr, state.optimizer.betas) == ("adam", 1e-5, (0.0, 0.999))
    assert loss.recipe_defaults["sample"] == {"use": "one-step", "sigma_init": 1.0}
    assert loss.recipe_defaults["generator"]["optimizer"]["betas"] == [0.0, 0.999]


def test_the_fake_score_starts_from_the_teacher_and_one_in_closed_form_has_no_dropout(data):
    teacher, fake = stubs(data)
    assert ready(teacher, fake)[1].start == "teacher"
    assert ready(None, fake)[0].with_dropout == [fake]


def test_the_edm_weight_is_used_in_the_fake_score_loss(data):
    teacher, fake = stubs(data)
    loss, _ = ready(teacher, fake, sgls=2.0)
    found = loss.critic_loss(ReplayStep(data["images"], data["fs_sigma"], data["fs_noise"]))
    D = fake.calls[0].D
    torch.testing.assert_close(
        found, 2 * (noise.edm_weight(data["fs_sigma"]) * (D - data["images"]) ** 2).flatten(1).sum(1)
    )
