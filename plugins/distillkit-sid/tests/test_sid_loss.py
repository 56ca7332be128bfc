"""SiD against the reference's numbers, and the properties that its equations promise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pluggy
import pytest
import torch
from distillkit_sid.sid import Sid
from distillkit_sid.sida import Sida
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from distillkit import noise
from distillkit.api import Choice, Hooks

DATA = Path(__file__).parent / "data"
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def fixture(name):
    with np.load(DATA / name) as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


class Stub(nn.Module):
    """D(x, sigma) = A x + B (1 + 0.1 ln sigma); remembers what went in and out."""

    def __init__(self, A, B, nan_row=None):
        super().__init__()
        self.A, self.B, self.nan_row, self.calls = nn.Parameter(A), nn.Parameter(B), nan_row, []

    def forward(self, x, sigma, labels=None, augment_labels=None):
        D = self.A * x + self.B * (1 + 0.1 * sigma.log())
        if self.nan_row is not None:
            D = D * torch.where(torch.arange(len(D)) == self.nan_row, torch.nan, 1.0).view(-1, 1, 1, 1)
        if D.requires_grad:
            D.retain_grad()
        self.calls.append(SimpleNamespace(x=x, sigma=sigma, D=D, labels=labels, augment_labels=augment_labels))
        return D


class ReplayStep:
    """A step whose draws are the recorded ones; the files hold sigma * n."""

    def __init__(self, x, sigma, scaled, real=None, nimg=0):
        self.x, self.sigma, self.scaled, self.real, self.labels, self.nimg = x, sigma, scaled, real, None, nimg

    def uniform(self, low, high):
        top, bottom = noise.SIGMA_MAX ** (1 / noise.RHO), noise.SIGMA_MIN ** (1 / noise.RHO)
        u = 1 - (self.sigma.double() ** (1 / noise.RHO) - top) / (bottom - top)
        assert low == 0 and bool((u < high).all())
        return u.float()

    def lognormal_sigma(self, P_mean, P_std):
        self.asked = P_mean, P_std
        return self.sigma

    def randn_like(self, x):
        return self.scaled / self.sigma


class FakeState:
    def __init__(self, teacher_network, fake_score):
        self.teacher, self.fake_score = SimpleNamespace(network=teacher_network), fake_score
        self.records, self.turns = {}, None

    def add_network(self, name, start, optimizer):
        self.start, self.optimizer = start, optimizer
        return self.fake_score

    def record(self, name, value):
        self.records[name] = value


def ready(loss, teacher, fake_score):
    state = FakeState(teacher, fake_score)
    loss.setup(state)
    return state


@pytest.fixture
def data():
    return fixture("sid_loss_io.npz")


def stubs(data, nan_row=None):
    teacher = Stub(data["A_true"], data["B_true"], nan_row).requires_grad_(False)
    return teacher, Stub(data["A_fake"], data["B_fake"]).requires_grad_(False)


@pytest.mark.parametrize("tag", ["a1p2", "a1p0", "a1p2_tmax1000", "a1p2_nan"])
def test_the_generator_loss_and_all_its_gradients_are_the_references(data, tag):
    want = {key[len(tag) + 1 :]: value for key, value in data.items() if key.startswith(tag + "_")}
    nan = tag.endswith("nan")
    teacher, fake = stubs(data, nan_row=2 if nan else None)
    config = {"alpha": float(want["alpha"]), "tmax": float(want["tmax"])}
    loss = Sid(Sid.Config(**config, nonfinite_images="drop"))
    state = ready(loss, teacher, fake)
    x = data["images"].clone().requires_grad_()
    per_image = loss.generator_loss(state, ReplayStep(x, want["sigma"], want["noise"]), teacher)
    total = per_image.sum() / 4
    total.backward()
    torch.testing.assert_close(fake.calls[0].x, want["x_noisy"], **CLOSE)
    torch.testing.assert_close(teacher.calls[0].x, want["x_noisy"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D, want["y_fake"], **CLOSE)
    torch.testing.assert_close(teacher.calls[0].D, want["y_real"], **CLOSE, equal_nan=nan)
    kept = [0, 1, 3] if nan else [0, 1, 2, 3]
    torch.testing.assert_close(per_image[kept] / 100, want["loss"].flatten(1).sum(1), **CLOSE)
    torch.testing.assert_close(total, want["loss_scalar_lsg100"], **CLOSE)
    torch.testing.assert_close(x.grad, want["grad_images"], rtol=1e-4, atol=1e-3)  # up to 500
    torch.testing.assert_close(fake.calls[0].D.grad, want["grad_y_fake"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(teacher.calls[0].D.grad, want["grad_y_real"], rtol=1e-4, atol=1e-3)
    assert int(state.records["dropped_images"]) == int(nan)
    assert per_image[2] == 0 or not nan


def test_refuse_leaves_a_nan_where_the_engine_can_see_it(data):
    teacher, fake = stubs(data, nan_row=2)
    loss = Sid(Sid.Config())
    state = ready(loss, teacher, fake)
    step = ReplayStep(data["images"], data["a1p2_nan_sigma"], data["a1p2_nan_noise"])
    per_image = loss.generator_loss(state, step, teacher)
    assert per_image.isnan().tolist() == [False, False, True, False]
    assert state.records == {}


def test_the_fake_score_loss_is_the_references(data):
    teacher, fake = stubs(data)
    loss = Sid(Sid.Config())
    ready(loss, teacher, fake.requires_grad_(True))
    step = ReplayStep(data["images"], data["fs_sigma"], data["fs_noise"])
    per_image = loss.critic_loss(step)
    (per_image.sum() / 4).backward()
    assert step.asked == (-1.2, 1.2)
    torch.testing.assert_close(fake.calls[0].x, data["fs_x_noisy"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D, data["fs_y_fake"], **CLOSE)
    torch.testing.assert_close(per_image, data["fs_loss"].flatten(1).sum(1), **CLOSE)
    torch.testing.assert_close(per_image.sum() / 4, data["fs_loss_scalar_ls1"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D.grad, data["fs_grad_y_fake"], rtol=1e-4, atol=1e-3)


def test_nothing_is_left_to_learn_where_the_two_scores_agree(data):
    teacher, _ = stubs(data)
    loss = Sid(Sid.Config())
    state = ready(loss, teacher, teacher)
    x = data["images"].clone().requires_grad_()
    per_image = loss.generator_loss(state, ReplayStep(x, data["a1p2_sigma"], data["a1p2_noise"]), teacher)
    per_image.sum().backward()
    assert per_image.abs().max() == 0 and x.grad.abs().max() == 0


@settings(max_examples=30, derandomize=True, deadline=None)
@given(u=st.floats(0, 1, exclude_max=True, width=32), tmax=st.sampled_from([1.0, 500.0, 800.0, 1000.0]))
def test_the_grid_gives_every_sigma_from_its_smallest_up_to_tmax(u, tmax):
    step = SimpleNamespace(uniform=lambda low, high: torch.tensor(low + (high - low) * u).view(1, 1, 1, 1))
    sigma = float(Sid(Sid.Config(tmax=tmax)).generator_sigma(step))
    largest = float(noise.rho_grid(torch.tensor(1 - tmax / 1000, dtype=torch.float64)))
    assert 0.002 * (1 - 1e-4) <= sigma <= largest * (1 + 1e-4)
    assert tmax != 800 or largest == pytest.approx(24.4, abs=0.1)


def test_the_lognormal_noise_takes_the_generators_own_constants(data):
    step = ReplayStep(data["images"], data["fs_sigma"], data["fs_noise"])
    Sid(Sid.Config(noise="lognormal")).generator_sigma(step)
    assert step.asked == (-0.6, 1.4)


def test_only_the_fake_score_sees_augmented_images_and_it_is_told(data):
    class Flip:
        Config = object

        def __init__(self, config):
            pass

        def __call__(self, x, step):
            return x.flip(3), torch.ones(len(x), 9)

    teacher, fake = stubs(data)
    loss = Sid(Sid.Config(augment=Choice("augment", "flip", Flip, None)))
    state = ready(loss, teacher, fake)
    step = ReplayStep(data["images"], data["fs_sigma"], data["fs_noise"])
    per_image = loss.critic_loss(step)
    flipped = data["images"].flip(3)
    torch.testing.assert_close(fake.calls[0].x, flipped + data["fs_noise"])
    assert fake.calls[0].augment_labels.shape == (4, 9)
    weight = noise.edm_weight(data["fs_sigma"])
    torch.testing.assert_close(per_image, (weight * (fake.calls[0].D - flipped) ** 2).flatten(1).sum(1))
    loss.generator_loss(state, step, teacher)
    assert fake.calls[1].augment_labels is None


def test_a_joint_turn_runs_the_fake_score_once_and_mixes_no_gradients(data):
    teacher, fake = stubs(data)
    fake.requires_grad_(True)
    loss = Sid(Sid.Config(shared_forward=True))
    state = ready(loss, teacher, fake)
    assert [(turn.trains, turn.losses) for turn in state.turns] == [
        (("fake_score", "generator"), ("critic_loss", "generator_loss"))
    ]
    step = ReplayStep(data["images"].clone().requires_grad_(), data["a1p2_sigma"], data["a1p2_noise"])
    (loss.critic_loss(step).sum() / 4).backward(inputs=list(fake.parameters()), retain_graph=True)
    assert step.x.grad is None
    (loss.generator_loss(state, step, teacher).sum() / 4).backward(inputs=[step.x])
    assert len(fake.calls) == 1 and loss._shared is None
    torch.testing.assert_close(step.x.grad, data["a1p2_grad_images"], rtol=1e-4, atol=1e-3)
    D = fake.calls[0].D.detach()
    wanted = 2 * noise.edm_weight(data["a1p2_sigma"]) * (D - data["images"]) * data["a1p2_x_noisy"] / 4
    torch.testing.assert_close(fake.A.grad, wanted, rtol=1e-3, atol=1e-2)


def test_a_joint_turn_cannot_augment():
    with pytest.raises(ValueError, match="shared_forward"):
        Sid.Config(shared_forward=True, augment=Choice("augment", "flip", object, None))


def test_the_fake_score_starts_from_the_teacher(data):
    assert ready(Sid(Sid.Config()), *stubs(data)).start == "teacher"


def test_the_optimizer_settings_reach_the_fake_score(data):
    config = Sid.Config(lr=1e-3, betas=(0.0, 0.99), eps=1e-6, warmup_kimg=1.0, schedule="cosine", decay_from=0.5)
    optimizer = ready(Sid(config), *stubs(data)).optimizer
    assert (optimizer.lr, optimizer.betas, optimizer.eps) == (1e-3, (0.0, 0.99), 1e-6)
    assert (optimizer.warmup_kimg, optimizer.schedule, optimizer.decay_from) == (1.0, "cosine", 0.5)
    assert optimizer.clip_value is None
    assert ready(Sid(Sid.Config()), *stubs(data)).optimizer.lr == 1e-5


def test_the_hooks_are_the_ones_that_the_engine_asks():
    for method in (Sid(Sid.Config()), Sida(Sida.Config())):
        manager = pluggy.PluginManager("distillkit")
        manager.add_hookspecs(Hooks)
        manager.register(method)
        hooks = {hook.name for hook in manager.get_hookcallers(method)}
        assert hooks == {"setup", "critic_loss", "generator_loss"}
        manager.check_pending()
