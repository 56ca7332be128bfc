"""DMD and DMD2 against the reference's numbers, and the properties that their equations promise."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distillkit_dmd.dmd import Dmd, grid_sigma, matching_gradient
from distillkit_dmd.dmd2 import Dmd2
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from distillkit.builtin.mixture import MixtureConfig, MixtureTeacher

CLOSE = {"rtol": 1e-4, "atol": 1e-6}


class Stub(nn.Module):
    """D(x, sigma) = A x + B (1 + 0.1 ln sigma); remembers what went in and out."""

    def __init__(self, A, B):
        super().__init__()
        self.A, self.B, self.calls = nn.Parameter(A), nn.Parameter(B), []

    def forward(self, x, sigma, labels=None, augment_labels=None):
        D = self.A * x + self.B * (1 + 0.1 * sigma.log())
        if D.requires_grad:
            D.retain_grad()
        self.calls.append(SimpleNamespace(x=x, D=D))
        return D


class ReplayStep:
    """A step whose draws are the recorded ones."""

    labels = real_labels = None

    def __init__(self, x, t, sigma, x_noisy, real=None):
        self.x, self.t, self.n, self.real = x, t, (x_noisy - x.detach()) / sigma, real

    def uniform(self, low, high):
        self.range = low, high
        return self.t - (20 if high == 961 else 0) + 0.5

    def randn_like(self, x):
        return self.n


class FakeState:
    def __init__(self, teacher_network, fake_score):
        self.teacher, self.fake_score = SimpleNamespace(network=teacher_network), fake_score
        self.generator, self.networks, self.seed, self.records = fake_score, {}, 0, {}

    def copy_of(self, start):
        assert start == "teacher"
        return copy.deepcopy(self.teacher.network or self.generator).requires_grad_(True)

    def add_network(self, name, start, optimizer):
        self.networks[name] = self.fake_score if start == "teacher" else start
        self.optimizer = optimizer
        return self.networks[name]

    def record(self, name, value):
        self.records[name] = float(value.detach())


@pytest.fixture
def data():
    with np.load(Path(__file__).parent / "data" / "dmd2_loss_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def ready(cls, teacher, fake, **config):
    loss, state = cls(cls.Config(**config)), FakeState(teacher, fake)
    loss.setup(state)
    loss.fake_score = fake  # trained away from its start
    return loss, state


def stubs(data):
    teacher = Stub(data["A_real"], data["B_real"]).requires_grad_(False)
    return teacher, Stub(data["A_fake"], data["B_fake"])


@pytest.mark.parametrize(("cls", "config"), [(Dmd, {}), (Dmd2, {"gan": False})])
def test_the_generator_loss_and_its_gradient_are_the_references(data, cls, config):
    teacher, fake = stubs(data)
    loss, state = ready(cls, teacher, fake, **config)
    x = data["images"].clone().requires_grad_()
    step = ReplayStep(x, data["dm_timesteps"], data["dm_sigma"], data["dm_x_noisy"])
    arguments = {"state": state} if cls is Dmd2 else {}
    per_image = loss.generator_loss(step=step, teacher_score=teacher, **arguments)
    (per_image.sum() / 4).backward()
    assert step.range == (0.0, 961.0)
    torch.testing.assert_close(teacher.calls[0].x, data["dm_x_noisy"], **CLOSE)
    torch.testing.assert_close(teacher.calls[0].D, data["dm_pred_real"], **CLOSE)
    torch.testing.assert_close(loss.fake_score.calls[0].D, data["dm_pred_fake"], **CLOSE)
    torch.testing.assert_close(per_image.sum() / 4, data["dm_loss"], **CLOSE)
    torch.testing.assert_close(x.grad, data["dm_grad_images"], **CLOSE)
    assert loss.fake_score.A.grad is None
    g = matching_gradient(x, data["dm_pred_real"], data["dm_pred_fake"])
    torch.testing.assert_close(g, data["dm_grad"], **CLOSE)


@pytest.mark.parametrize(("cls", "config"), [(Dmd, {}), (Dmd2, {"gan": False})])
def test_the_fake_score_loss_and_its_gradient_are_the_references(data, cls, config):
    teacher, fake = stubs(data)
    loss, state = ready(cls, teacher, fake, **config)
    t = (data["karras_sigmas"].view(1, -1) - data["fs_sigma"].view(-1, 1)).abs().argmin(1).view(-1, 1, 1, 1)
    step = ReplayStep(data["images"], t, data["fs_sigma"], data["fs_x_noisy"])
    per_image = loss.critic_loss(step=step, **({"state": state} if cls is Dmd2 else {}))
    (per_image.sum() / 4).backward()
    call = loss.fake_score.calls[0]
    torch.testing.assert_close(call.x, data["fs_x_noisy"], **CLOSE)
    torch.testing.assert_close(call.D, data["fs_pred"], **CLOSE)
    torch.testing.assert_close(per_image.sum() / 4, data["fs_loss"], **CLOSE)
    torch.testing.assert_close(call.D.grad, data["fs_grad_pred"], **CLOSE)


def test_without_its_weight_the_fake_score_loss_is_a_mean_squared_error(data):
    teacher, fake = stubs(data)
    loss, _ = ready(Dmd, teacher, fake, fake_weight="none")
    step = ReplayStep(data["images"], torch.full((4, 1, 1, 1), 500), torch.ones(4, 1, 1, 1), data["fs_x_noisy"])
    found = loss.critic_loss(step)
    torch.testing.assert_close(found, ((fake.calls[0].D - data["images"]) ** 2).flatten(1).mean(1))


def test_the_grid_is_the_references(data):
    t = torch.arange(1000).view(-1, 1, 1, 1)
    sigma = grid_sigma(SimpleNamespace(uniform=lambda low, high: t + 0.5), 0, 999)
    torch.testing.assert_close(sigma.flatten(), data["karras_sigmas"], rtol=1e-4, atol=0)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(
    u=st.floats(0, 1, exclude_max=True, width=32),
    T_min=st.sampled_from([0.0, 0.02]),
    T_max=st.sampled_from([0.98, 1.0]),
)
def test_sigma_stays_within_its_range(u, T_min, T_max):
    loss = Dmd(Dmd.Config(T_min=T_min, T_max=T_max))
    step = SimpleNamespace(uniform=lambda low, high: torch.tensor(low + (high - low) * u).view(1, 1, 1, 1))
    sigma = float(loss.generator_sigma(step))
    assert 0.002 * (1 - 1e-4) <= sigma <= 80 * (1 + 1e-4)
    assert T_max == 1.0 or sigma < 74.0


def test_the_gan_losses_are_the_references_on_its_logits(data, monkeypatch):
    teacher, fake = stubs(data)
    weights = {"gen_cls_loss_weight": 1.0, "guidance_cls_loss_weight": 1.0}
    loss, state = ready(Dmd2, teacher, fake, gan=False, **weights)
    object.__setattr__(loss.config, "gan", True)
    l_fake, l_real = (data[f"gan_logit_{name}"].clone().requires_grad_() for name in ("fake", "real"))
    step = SimpleNamespace(
        x=data["images"], real=-data["images"], labels=None, real_labels=None, randn_like=torch.zeros_like,
        uniform=lambda low, high: torch.full((4, 1, 1, 1), low),
    )  # fmt: skip
    monkeypatch.setattr(loss, "logits", lambda y, *noise: l_fake if y is step.x else l_real)
    monkeypatch.setattr(loss, "matching_loss", lambda *args: torch.zeros(4))
    monkeypatch.setattr(loss, "denoising_loss", lambda *args: torch.zeros(4))
    generator = loss.generator_loss(state, step, teacher).mean()
    torch.testing.assert_close(generator, data["gan_gen_loss"], **CLOSE)
    (found,) = torch.autograd.grad(generator, l_fake)
    torch.testing.assert_close(found, data["gan_gen_grad_logit_fake"], **CLOSE)
    critic = loss.critic_loss(state, step).mean()
    torch.testing.assert_close(critic, data["gan_disc_loss"], **CLOSE)
    for found, name in zip(torch.autograd.grad(critic, [l_fake, l_real]), ("fake", "real"), strict=True):
        torch.testing.assert_close(found, data[f"gan_disc_grad_logit_{name}"], **CLOSE)


def analytic_score(config, x_t, sigma):
    """grad log p_t of the mixture, by autograd of its density."""
    x_t = x_t.clone().requires_grad_()
    points, variance = x_t.flatten(1), config.std**2 + sigma.reshape(-1, 1) ** 2
    distance = (points[:, None] - config.means(x_t)[None]).square().sum(2)
    log_p = (-0.5 * distance / variance).logsumexp(1) - variance[:, 0].log()
    return torch.autograd.grad(log_p.sum(), x_t)[0]


@pytest.mark.parametrize(("cls", "config"), [(Dmd, {}), (Dmd2, {"gan": False})])
def test_against_the_closed_form_teacher_the_gradient_is_the_weighted_difference_of_analytic_scores(cls, config):
    real, fake = MixtureConfig(), MixtureConfig(modes=3, radius=0.4, std=0.2)
    score = {
        name: lambda x, sigma, labels=None, config=config: MixtureTeacher(config).teacher_score(None, x, sigma, labels)
        for name, config in (("real", real), ("fake", fake))
    }
    generator = torch.Generator().manual_seed(0)
    x, n = (torch.randn(32, 2, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.randint(20, 981, (32, 1, 1, 1), generator=generator)
    sigma = grid_sigma(SimpleNamespace(uniform=lambda low, high: t.double() + 0.5), 0, 999)
    loss, state = ready(cls, None, nn.Identity(), **config)
    loss.fake_score = score["fake"]
    x_t = x + sigma * n
    step = ReplayStep(x.clone().requires_grad_(), t.double(), sigma, x_t)
    arguments = {"state": state} if cls is Dmd2 else {}
    loss.generator_loss(step=step, teacher_score=score["real"], **arguments).sum().backward()
    gap = analytic_score(fake, x_t, sigma) - analytic_score(real, x_t, sigma)
    w = sigma**2 * 2 / (score["real"](x_t, sigma) - x).abs().sum(1, keepdim=True)
    torch.testing.assert_close(step.x.grad, w * gap / 2, rtol=1e-6, atol=1e-9)  # / 2: the mean over two values


def test_nothing_is_left_to_learn_where_the_two_scores_agree(data):
    teacher, _ = stubs(data)
    loss, _ = ready(Dmd, teacher, teacher)
    x = data["images"].clone().requires_grad_()
    loss.generator_loss(
        ReplayStep(x, data["dm_timesteps"], data["dm_sigma"], data["dm_x_noisy"]), teacher
    ).sum().backward()
    assert x.grad.abs().max() == 0


def test_the_published_constants_are_the_defaults(data):
    for cls, lr, kimg in ((Dmd, 5e-5, 196.0), (Dmd2, 2e-6, 20.0)):
        config = {"gan": False} if cls is Dmd2 else {}
        _, state = ready(cls, *stubs(data), **config)
        found = state.optimizer
        assert (found.name, found.lr, found.betas, found.weight_decay) == ("adamw", lr, (0.9, 0.999), 0.01)
        assert (found.clip_norm, found.warmup_kimg) == (10.0, kimg)
        ours = cls.recipe_defaults["generator"]["optimizer"]
        assert (ours["lr"], ours["warmup_kimg"], ours["clip_norm"]) == (lr, kimg, 10.0)
        assert cls.recipe_defaults["sample"]["sigma_init"] == 80.0
        assert cls.recipe_defaults["generator"]["dropout"] == 0.0


@pytest.mark.parametrize(
    ("update", "taken"),
    [("every", [["generator", "guidance"]] + [["guidance"]] * 4), ("alternate", [["generator"]] + [["guidance"]] * 4)],
)
def test_the_generator_moves_every_fifth_iteration(data, update, taken):
    _, state = ready(Dmd2, *stubs(data), gan=False, update=update)

    def due(turn, iteration):
        return iteration >= turn.first and (iteration - turn.first) % turn.every == 0

    for start in (0, 5):
        assert [[turn.name for turn in state.turns if due(turn, start + i)] for i in range(5)] == taken


def test_dmd_moves_both_at_every_iteration_on_the_same_images(data):
    _, state = ready(Dmd, *stubs(data))
    assert [(turn.name, turn.every, turn.images_of) for turn in state.turns] == [
        ("generator", 1, ""), ("fake_score", 1, "generator")
    ]  # fmt: skip


def test_t_max_must_be_above_t_min():
    with pytest.raises(ValueError, match=r"'T_max' must be above T_min = 0.5: 0.3"):
        Dmd.Config(T_min=0.5, T_max=0.3)
