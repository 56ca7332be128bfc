"""SiD and SiDA with EDM2's networks against the reference's numbers, weighed by the expected error and not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sid_networks
import torch
from distillkit_sid.sid import Sid
from distillkit_sid.sida import Sida
from sid_networks import Method, Unet
from torch import Tensor

from distillkit.api import UsageError
from distillkit.testing import lognormal_draw, replayed, toy_state
from distillkit.train import turns
from distillkit.train.state import State
from distillkit.train.step import Step

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}
BOTH = pytest.mark.parametrize("tag", ["lv", "nolv"])
Data = dict[str, Tensor]
EDM2 = {
    "use": "edm2", "model_channels": 4, "channel_mult": [1, 1], "num_blocks": 1, "attn_resolutions": [],
    "channels_per_head": 4, "logvar_channels": 4,
}  # fmt: skip


@pytest.fixture
def data() -> Data:
    with np.load(Path(__file__).parent / "data" / "sida_edm2_loss_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


@pytest.fixture
def fake(data: Data) -> Unet:
    return Unet(*(data[key] for key in ("A_fake", "B_fake", "C_fake", "logvar_fake")))


def ready(cls: type[Method], fake: Unet, **keys: Any) -> tuple[Method, State]:
    loss, state = sid_networks.ready(cls, fake, 4, EDM2, **keys)
    state.nimg = 200_001
    return loss, state


def replay(state: State, data: Data, tag: str, P_mean: float, P_std: float) -> Step:
    """A step whose draws are the recorded ones; the file holds sigma * n."""
    sigma, scaled = data[f"{tag}_sigma"], data[f"{tag}_noise"]
    draws = [lognormal_draw(sigma, P_mean, P_std), scaled / sigma]
    return replayed(state, draws, data["images"].clone().requires_grad_(), data["real_images"])


def generator_step(state: State, data: Data, tag: str) -> Step:
    return replay(state, data, tag, -0.6, 1.4)


def critic_step(state: State, data: Data, tag: str) -> Step:
    return replay(state, data, tag, -1.2, 1.2)


def u(fake: Unet) -> Tensor:
    assert fake.u is not None
    return fake.u


def teacher(data: Data) -> Unet:
    return Unet(data["A_true"], data["B_true"], data["C_fake"]).requires_grad_(False)


@BOTH
def test_sids_generator_loss_and_its_gradient_are_the_references(data: Data, fake: Unet, tag: str) -> None:
    loss, state = ready(Sid, fake, alpha=1.0, logvar=tag == "lv")
    step = generator_step(state, data, f"{tag}_sid")
    value = loss.generator_loss(state, step, teacher(data))
    (value.sum() / 4).backward()
    torch.testing.assert_close(value / 100, data[f"{tag}_sid_loss"].flatten(1).sum(1), **CLOSE)
    torch.testing.assert_close(value.sum() / 4, data[f"{tag}_sid_scalar"], **CLOSE)
    torch.testing.assert_close(step.x.grad, data[f"{tag}_sid_grad_images"], rtol=1e-4, atol=1e-3)
    assert u(fake).grad is None


@BOTH
def test_the_fake_scores_loss_is_the_references(data: Data, fake: Unet, tag: str) -> None:
    loss, state = ready(Sid, fake, logvar=tag == "lv")
    value = loss.critic_loss(critic_step(state, data, f"{tag}_fs"))
    torch.testing.assert_close(value, data[f"{tag}_fs_loss"].flatten(1).sum(1), **CLOSE)


@BOTH
def test_sidas_generator_loss_and_its_gradient_are_the_references(data: Data, fake: Unet, tag: str) -> None:
    loss, state = ready(Sida, fake, alpha=1.0, logvar=tag == "lv")
    step = generator_step(state, data, f"{tag}_g")
    total = loss.generator_loss(state, step, teacher(data)).sum() / 4
    total.backward()
    torch.testing.assert_close(total, (data[f"{tag}_g_sid_scalar"] + data[f"{tag}_g_gan_scalar"]) / 2, **CLOSE)
    torch.testing.assert_close(step.x.grad, data[f"{tag}_g_grad_images"], rtol=1e-4, atol=1e-3)


@BOTH
def test_sidas_fake_score_and_discriminator_loss_is_the_references(data: Data, fake: Unet, tag: str) -> None:
    loss, state = ready(Sida, fake, lsd=100.0, clip_value=float("inf"), logvar=tag == "lv")
    value = loss.critic_loss(state, critic_step(state, data, f"{tag}_d"))
    want = data[f"{tag}_d_loss_fake_score"].flatten(1).sum(1) + 100 * data[f"{tag}_d_loss_D"].flatten()
    torch.testing.assert_close(value, want, **CLOSE)
    torch.testing.assert_close(value.sum() / 4, data[f"{tag}_d_scalar_ls1_lsd100"], **CLOSE)


def test_the_critic_learns_the_expected_error_only_with_logvar(data: Data, fake: Unet) -> None:
    for logvar in (False, True):
        loss, state = ready(Sid, fake, logvar=logvar)
        loss.critic_loss(critic_step(state, data, "lv_fs")).sum().backward()
        assert (u(fake).grad is not None) == logvar


def test_an_image_whose_expected_error_is_no_number_can_be_dropped(data: Data, fake: Unet) -> None:
    u(fake).data[1] = torch.nan
    loss, state = ready(Sid, fake, logvar=True, nonfinite_images="drop")
    value = loss.generator_loss(state, generator_step(state, data, "lv_sid"), teacher(data))
    assert value[1] == 0 and value.isfinite().all()


@pytest.mark.parametrize("cls", ["sid", "sida"])
def test_a_network_without_an_expected_error_is_refused(cls: str) -> None:
    keys: dict[str, Any] = {"teacher_score": {"network": {**EDM2, "logvar_channels": 0}}}
    toy_state(generator_loss={"use": cls}, **keys)
    with pytest.raises(UsageError, match="logvar needs a network that estimates its error"):
        toy_state(generator_loss={"use": cls, "logvar": True}, **keys)


def normalised(**loss: Any) -> tuple[bool, bool]:
    """Whether training normalises the weights of the generator, and of the fake score."""
    state = toy_state(teacher_score={"network": EDM2}, generator_loss=loss)
    return is_normalised(state, "generator"), is_normalised(state, "fake_score")


def is_normalised(state: State, name: str) -> bool:
    """Whether the begin of a turn takes a factor of 2 out of the weights."""
    network: Any = state.networks[name]
    weights = [p for p in network.parameters() if p.ndim > 1]
    for p in weights:
        p.data.mul_(2)
    before = [p.clone() for p in weights]
    turn = next(turn for turn in state.turns if name in turn.trains)
    with turns.training(state, turn):
        network(torch.zeros(1, *state.dataset.shape), torch.ones(1, 1, 1, 1))
    return any(not torch.equal(a, b) for a, b in zip(before, weights, strict=True))


def test_sida_normalises_the_weights_of_the_generator_alone_unless_told_otherwise() -> None:
    assert normalised(use="sida") == (True, False)
    assert normalised(use="sida", force_normalization=False) == (False, False)
    assert normalised(use="sida", fake_force_normalization=True) == (True, True)


def test_sid_leaves_what_edm2_does_to_both() -> None:
    assert normalised(use="sid") == (True, True)


@pytest.mark.parametrize("key", ["force_normalization", "fake_force_normalization"])
def test_a_network_that_normalises_nothing_is_refused_where_the_keys_are_set(key: str) -> None:
    with pytest.raises(UsageError, match=rf"generator_loss\.{key} is for EDM2's networks"):
        toy_state(generator_loss={"use": "sida", key: key != "force_normalization"})
