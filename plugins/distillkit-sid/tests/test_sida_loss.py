"""SiDA against the reference's numbers, its warm-up gates, and what it says of a network without an encoder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import sid_networks
import torch
from distillkit_sid.sida import Sida, bce
from sid_networks import Unet
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from distillkit.api import UsageError
from distillkit.testing import lognormal_draw, replayed, toy_state, toy_step
from distillkit.train import iterate
from distillkit.train.state import State
from distillkit.train.step import Step

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}
Data = dict[str, Tensor]
ALL = [0, 1, 2, 3]


@pytest.fixture
def data() -> Data:
    with np.load(Path(__file__).parent / "data" / "sida_loss_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


@pytest.fixture
def fake(data: Data) -> Unet:
    return Unet(data["A_fake"], data["B_fake"], data["C_fake"])


@pytest.fixture
def teacher(data: Data) -> Unet:
    return Unet(data["A_true"], data["B_true"], data["C_fake"]).requires_grad_(False)


def ready(fake: Unet, nimg: int = 200_001, **keys: Any) -> tuple[Sida, State]:
    loss, state = sid_networks.ready(Sida, fake, 3, **keys)
    state.nimg = nimg
    return loss, state


def generator_step(state: State, data: Data, rows: list[int] = ALL) -> Step:
    """The recorded draws of (g); the file holds sigma * n."""
    sigma, scaled = data["g_sigma"][rows], data["g_noise"][rows]
    draws = [lognormal_draw(sigma, -0.6, 1.4), scaled / sigma]
    return replayed(state, draws, data["images"][rows].clone().requires_grad_())


def critic_step(state: State, data: Data, rows: list[int] = ALL) -> Step:
    """The recorded draws of (a) + (e); the file holds sigma * n."""
    sigma, scaled = data["d_sigma"][rows], data["d_noise"][rows]
    draws = [lognormal_draw(sigma, -1.2, 1.2), scaled / sigma]
    return replayed(state, draws, data["images"][rows], data["real_images"][rows])


def test_the_generator_loss_and_its_gradient_are_the_references(data: Data, fake: Unet, teacher: Unet) -> None:
    loss, state = ready(fake.requires_grad_(False))
    step = generator_step(state, data)
    total = loss.generator_loss(state, step, teacher).sum() / 4
    total.backward()
    torch.testing.assert_close(fake.calls[0].x, data["g_x_noisy"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D, data["g_y_fake"], **CLOSE)
    torch.testing.assert_close(teacher.calls[0].D, data["g_y_real"], **CLOSE)
    torch.testing.assert_close(fake.logits[0], data["g_logits"], **CLOSE)
    torch.testing.assert_close(total, data["g_total"], **CLOSE)
    torch.testing.assert_close(step.x.grad, data["g_grad_images"], rtol=1e-4, atol=1e-3)
    adversarial = state.records.means()["loss/adversarial"]
    assert adversarial == pytest.approx(float(data["g_loss_gan_scalar_0p01"]), rel=1e-4)


def test_either_half_of_the_generator_loss_is_the_references(data: Data, fake: Unet, teacher: Unet) -> None:
    loss, state = ready(fake, lsg_gan=0.0)
    sid = 2 * loss.generator_loss(state, generator_step(state, data), teacher)
    torch.testing.assert_close(sid / 100, data["g_loss_sid"].flatten(1).sum(1), **CLOSE)
    torch.testing.assert_close(sid.sum() / 4, data["g_loss_sid_scalar_lsg100"], **CLOSE)
    loss, state = ready(fake, lsg_gan=1 / 192)  # 192 pixels
    gan = 2 * loss.generator_loss(state, generator_step(state, data), teacher) - sid
    torch.testing.assert_close(gan, data["g_loss_gan_raw"].flatten(), rtol=1e-3, atol=1e-2)


def test_the_fake_score_and_discriminator_loss_and_their_gradients_are_the_references(data: Data, fake: Unet) -> None:
    loss, state = ready(fake)
    per_image = loss.critic_loss(state, critic_step(state, data))
    (per_image.sum() / 4).backward()
    torch.testing.assert_close(fake.seen[0], data["d_x_noisy"], **CLOSE)
    torch.testing.assert_close(fake.seen[1], data["real_images"] + data["d_noise_real"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D, data["d_y_fake"], **CLOSE)
    torch.testing.assert_close(fake.logits[0], data["d_logit_fake"], **CLOSE)
    torch.testing.assert_close(fake.logits[1], data["d_logit_real"], **CLOSE)
    want = data["d_loss_fake_score"].flatten(1).sum(1) + data["d_loss_D"].flatten()
    torch.testing.assert_close(per_image, want, **CLOSE)
    scalar = data["d_loss_fake_score_scalar"] + data["d_loss_D_scalar"]
    torch.testing.assert_close(per_image.sum() / 4, scalar, **CLOSE)
    discriminator = state.records.means()["loss/discriminator"]
    assert discriminator == pytest.approx(float(data["d_loss_D_scalar"]), rel=1e-4)
    torch.testing.assert_close(fake.B.grad, data["d_grad_B"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(fake.C.grad, data["d_grad_C"], rtol=1e-4, atol=1e-3)


def test_the_adversary_joins_after_its_gate_and_only_then_halves_the_sid_loss(
    data: Data, fake: Unet, teacher: Unet
) -> None:
    loss, state = ready(fake, nimg=500, gan_after_kimg=0.5)
    before = loss.generator_loss(state, generator_step(state, data), teacher)
    state.nimg = 501
    after = loss.generator_loss(state, generator_step(state, data), teacher)
    torch.testing.assert_close(before, data["g_loss_sid"].flatten(1).sum(1) * 100, **CLOSE)
    torch.testing.assert_close(after.sum() / 4, data["g_total"], **CLOSE)


@pytest.mark.parametrize("after", [100.0, 0.64, 0.0])
def test_the_generator_waits_until_more_images_than_its_gate_were_seen(fake: Unet, after: float) -> None:
    _, state = ready(fake, generator_after_kimg=after)
    fake_score, generator = state.turns
    state.iteration, gate = 0, round(after * 1000)
    for state.nimg in (0, 1, gate, gate + 1, 2 * gate):
        assert iterate.due(state, fake_score)
        assert iterate.due(state, generator) == (state.nimg > gate or gate == 0)


def test_the_fake_scores_gradients_are_clipped(fake: Unet) -> None:
    _, state = ready(fake)
    assert state.settings["fake_score"].clip_value == 1.0
    assert Sida.recipe_defaults["generator"]["optimizer"].get("clip_value") is None


def test_a_dropped_image_leaves_the_same_losses_to_the_others(data: Data, fake: Unet, teacher: Unet) -> None:
    """Four images, one with NaN logits, against the other three alone, with the divisor of four."""
    keep = [0, 1, 3]
    spoilt = copy.deepcopy(fake)
    spoilt.C.data[2] = torch.nan
    others = Unet(data["A_fake"][keep], data["B_fake"][keep], data["C_fake"][keep])
    teacher_of_others = Unet(data["A_true"][keep], data["B_true"][keep], data["C_fake"][keep])
    loss, state = ready(spoilt, nonfinite_images="drop")
    step = generator_step(state, data)
    dropped = loss.generator_loss(state, step, teacher)
    loss_of_others, state_of_others = ready(others)
    alone_step = generator_step(state_of_others, data, keep)
    alone = loss_of_others.generator_loss(state_of_others, alone_step, teacher_of_others)
    torch.testing.assert_close(dropped[keep], alone)
    assert dropped[2] == 0 and state.records.means()["dropped_images"] == state.batch / 4
    dropped.sum().backward()
    alone.sum().backward()
    assert step.x.grad is not None and alone_step.x.grad is not None
    torch.testing.assert_close(step.x.grad[keep], alone_step.x.grad)
    assert step.x.grad[2].abs().max() == 0
    everyone = loss.critic_loss(state, critic_step(state, data))
    three = loss_of_others.critic_loss(state_of_others, critic_step(state_of_others, data, keep))
    torch.testing.assert_close(everyone[keep], three)
    assert everyone[2] == 0


def test_bce_is_the_binary_cross_entropy_with_logits() -> None:
    logits = torch.linspace(-30, 30, 32).view(2, 1, 4, 4)
    step = toy_step(toy_state())
    for target in (0, 1):
        want = binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
        torch.testing.assert_close(bce(step, logits, target, torch.ones(2, dtype=torch.bool)), want)


def test_a_network_without_an_encoder_is_refused_by_name() -> None:
    state = toy_state()
    assert state.teacher is not None
    state.teacher.network = cast(Any, nn.Linear(2, 2))
    with pytest.raises(UsageError, match="Linear has none"):
        Sida(Sida.Config()).setup(state)


def joint_state(**keys: Any) -> State:
    unet = {
        "use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [],
        "dropout": 0.0,
    }  # fmt: skip
    table = {"use": "sida", "shared_forward": True, "generator_after_kimg": 0.0, "gan_after_kimg": 0.0, **keys}
    return toy_state(run={"kimg": 1, "batch": 4}, teacher_score={"network": unet}, generator_loss=table)


def test_a_shared_pass_asks_the_fake_score_once_and_its_encoder_once_more() -> None:
    state, calls = joint_state(), []
    psi = state.networks["fake_score"]
    for name in ("encoder_decoder", "encoder"):
        asked = getattr(psi, name)
        setattr(psi, name, lambda *given, name=name, asked=asked: (calls.append(name), asked(*given))[1])
    before = [p.detach().clone() for name in ("generator", "fake_score") for p in state.networks[name].parameters()]
    iterate.iterate(state)
    assert calls == ["encoder_decoder", "encoder"]
    after = [p for name in ("generator", "fake_score") for p in state.networks[name].parameters()]
    moved = sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert moved > 0.9 * len(before) and state.skipped == 0


def test_up_to_the_gate_a_shared_pass_trains_the_fake_score_alone_as_without() -> None:
    shared, plain = (joint_state(shared_forward=way, generator_after_kimg=0.006) for way in (True, False))
    for _ in range(2):  # at 0 and at 4 images; the gate opens at 8
        iterate.iterate(shared), iterate.iterate(plain)
        for name in ("generator", "fake_score"):
            pairs = zip(shared.networks[name].parameters(), plain.networks[name].parameters(), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
    start = [p.detach().clone() for p in shared.networks["generator"].parameters()]
    iterate.iterate(shared)
    assert any(not torch.equal(a, b) for a, b in zip(start, shared.networks["generator"].parameters(), strict=True))
