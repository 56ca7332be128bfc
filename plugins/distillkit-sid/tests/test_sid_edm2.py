"""SiD and SiDA with EDM2's networks against the reference's numbers, weighed by the expected error and not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distillkit_sid.sid import Sid
from distillkit_sid.sida import Sida
from torch import nn

from distillkit.api import UsageError

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
BOTH = pytest.mark.parametrize("tag", ["lv", "nolv"])


class Stub(nn.Module):
    """D(x, sigma) = A x + B (1 + 0.1 ln sigma), logits 3 mean_c(C x) at every second pixel, u given."""

    def __init__(self, A, B, C, u):
        super().__init__()
        self.A, self.B, self.C, self.u, self.logvar_channels = A, B, C, nn.Parameter(u), 1

    def forward(self, x, sigma, labels=None, augment_labels=None):
        return self.A * x + self.B * (1 + 0.1 * sigma.log())

    def encoder(self, x, sigma, labels=None, augment_labels=None):
        return (self.C * x).mean(1, keepdim=True)[:, :, ::2, ::2] * 3

    def encoder_decoder(self, x, sigma, labels=None, augment_labels=None):
        return self(x, sigma), self.encoder(x, sigma)

    def logvar(self, sigma):
        return self.u


@pytest.fixture
def data():
    with np.load(Path(__file__).parent / "data" / "sida_edm2_loss_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


@pytest.fixture
def fake(data):
    return Stub(*(data[key] for key in ("A_fake", "B_fake", "C_fake", "logvar_fake")))


def ready(cls, fake, generator=None, **config):
    state = SimpleNamespace(
        teacher=SimpleNamespace(network=fake), record=lambda name, value: None, add_network=lambda *_, **__: fake,
        generator=generator,
    )  # fmt: skip
    loss = cls(cls.Config(**config))
    loss.setup(state)
    loss.generator_sigma = lambda step: step.sigma
    return loss, state


def replay(data, tag):
    """A step whose draws are the recorded ones; the file holds sigma * n."""
    sigma, scaled = data[f"{tag}_sigma"], data[f"{tag}_noise"]
    return SimpleNamespace(
        x=data["images"].clone().requires_grad_(), real=data["real_images"], labels=None, nimg=200_001, sigma=sigma,
        lognormal_sigma=lambda P_mean, P_std: sigma, randn_like=lambda x: scaled / sigma,
    )  # fmt: skip


def teacher(data):
    return lambda x, sigma, labels: data["A_true"] * x + data["B_true"] * (1 + 0.1 * sigma.log())


@BOTH
def test_sids_generator_loss_and_its_gradient_are_the_references(data, fake, tag):
    loss, state = ready(Sid, fake, alpha=1.0, logvar=tag == "lv")
    step = replay(data, f"{tag}_sid")
    value = loss.generator_loss(state, step, teacher(data))
    (value.sum() / 4).backward()
    torch.testing.assert_close(value / 100, data[f"{tag}_sid_loss"].flatten(1).sum(1), **CLOSE)
    torch.testing.assert_close(value.sum() / 4, data[f"{tag}_sid_scalar"], **CLOSE)
    torch.testing.assert_close(step.x.grad, data[f"{tag}_sid_grad_images"], rtol=1e-4, atol=1e-3)
    assert fake.u.grad is None


@BOTH
def test_the_fake_scores_loss_is_the_references(data, fake, tag):
    loss, _ = ready(Sid, fake, logvar=tag == "lv")
    value = loss.critic_loss(replay(data, f"{tag}_fs"))
    torch.testing.assert_close(value, data[f"{tag}_fs_loss"].flatten(1).sum(1), **CLOSE)


@BOTH
def test_sidas_generator_loss_and_its_gradient_are_the_references(data, fake, tag):
    loss, state = ready(Sida, fake, alpha=1.0, logvar=tag == "lv")
    step = replay(data, f"{tag}_g")
    total = loss.generator_loss(state, step, teacher(data)).sum() / 4
    total.backward()
    torch.testing.assert_close(total, (data[f"{tag}_g_sid_scalar"] + data[f"{tag}_g_gan_scalar"]) / 2, **CLOSE)
    torch.testing.assert_close(step.x.grad, data[f"{tag}_g_grad_images"], rtol=1e-4, atol=1e-3)


@BOTH
def test_sidas_fake_score_and_discriminator_loss_is_the_references(data, fake, tag):
    loss, state = ready(Sida, fake, lsd=100.0, clip_value=float("inf"), logvar=tag == "lv")
    value = loss.critic_loss(state, replay(data, f"{tag}_d"))
    want = data[f"{tag}_d_loss_fake_score"].flatten(1).sum(1) + 100 * data[f"{tag}_d_loss_D"].flatten()
    torch.testing.assert_close(value, want, **CLOSE)
    torch.testing.assert_close(value.sum() / 4, data[f"{tag}_d_scalar_ls1_lsd100"], **CLOSE)


def test_the_critic_learns_the_expected_error_only_with_logvar(data, fake):
    for logvar in (False, True):
        loss, _ = ready(Sid, fake, logvar=logvar)
        loss.critic_loss(replay(data, "lv_fs")).sum().backward()
        assert (fake.u.grad is not None) == logvar


def test_an_image_whose_expected_error_is_no_number_can_be_dropped(data, fake):
    fake.u.data[1] = torch.nan
    loss, state = ready(Sid, fake, logvar=True, nonfinite_images="drop")
    value = loss.generator_loss(state, replay(data, "lv_sid"), teacher(data))
    assert value[1] == 0 and value.isfinite().all()


@pytest.mark.parametrize("cls", [Sid, Sida])
def test_a_network_without_an_expected_error_is_refused(fake, cls):
    fake.logvar_channels = 0
    ready(cls, fake)
    with pytest.raises(UsageError, match="logvar needs a network that estimates its error"):
        ready(cls, fake, logvar=True)


def test_sida_normalises_the_weights_of_the_generator_alone_unless_told_otherwise(fake):
    told = []
    generator, fake = Normalising("generator", told), Normalising("fake", told, fake)
    ready(Sida, fake, generator=generator)
    ready(Sida, fake, generator=generator, force_normalization=False)
    ready(Sida, fake, generator=generator, fake_force_normalization=True)
    assert told == [
        ("generator", True), ("fake", False), ("generator", False), ("fake", False), ("generator", True), ("fake", True)
    ]  # fmt: skip


def test_sid_leaves_what_edm2_does_to_both(fake):
    told = []
    ready(Sid, Normalising("fake", told, fake), generator=Normalising("generator", told))
    assert told == []


@pytest.mark.parametrize("key", ["force_normalization", "fake_force_normalization"])
def test_a_network_that_normalises_nothing_is_refused_where_the_keys_are_set(fake, key):
    with pytest.raises(UsageError, match=rf"generator_loss\.{key} is for EDM2's networks"):
        ready(Sida, fake, generator=SimpleNamespace(), **{key: key != "force_normalization"})


class Normalising:
    """A network that takes down what it is told."""

    def __init__(self, name, told, network=None):
        self.name, self.told, self.network = name, told, network

    def force_normalization(self, on):
        self.told.append((self.name, on))

    def __getattr__(self, name):
        return getattr(self.network, name)
