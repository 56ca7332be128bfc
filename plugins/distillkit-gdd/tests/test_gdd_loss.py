"""GDD's losses, their gradients and the gradient penalty against the reference's numbers; its turns and optimizers."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_gdd.gdd import Gdd, GddI
from torch import Tensor, nn

from distillkit.api import UsageError
from distillkit.testing import toy_state
from distillkit.testing.training import moved, weights
from distillkit.train.iterate import due, iterate

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
UNET = {
    "use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "dropout": 0.1,
}  # fmt: skip
TEACHER = {"teacher_score": {"network": UNET}}
QUIET = SimpleNamespace(record=lambda name, value: None)  # a state that keeps nothing


class Stub(nn.Module):
    """l = z + 0.2 z^2 of z = feat @ W, feat_a = x, feat_b = x / 2."""

    def __init__(self, W_a: Tensor, W_b: Tensor) -> None:
        super().__init__()
        self.W = nn.ParameterList([W_a, W_b])

    def __call__(self, x: Tensor, step: Any) -> list[Tensor]:
        z = [feat.flatten(1) @ W for feat, W in zip((x, 0.5 * x), self.W, strict=True)]
        return [logits + 0.2 * logits**2 for logits in z]

    batch_statistics = staticmethod(nullcontext)


@pytest.fixture
def data() -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "data" / "gdd_loss_io.npz") as data:
        return {key: torch.from_numpy(v) for key, v in data.items() if v.dtype.kind != "U"}


def ready(data: dict[str, Tensor], **config: Any) -> Any:
    loss = Gdd(Gdd.Config(**config))
    loss.D = Stub(data["W_a"], data["W_b"])
    return loss


def step(data: dict[str, Tensor], turn: Any) -> Any:
    x = data["gen_out"].clone().requires_grad_(turn == "generator")
    real = data["real_images"].clone()
    return SimpleNamespace(turn=turn, x=x, real=real, n=4, batch=4, mean=lambda values: values.mean(0))


@pytest.mark.parametrize(("form", "tag"), [("non-saturating", "ns"), ("hinge", "hinge")])
def test_both_losses_and_their_gradients_are_the_references_sums(data: dict[str, Tensor], form: str, tag: str) -> None:
    loss = ready(data, loss=form)
    now = step(data, "generator")
    total = loss.generator_loss(now).sum() / 4  # the engine's mean
    total.backward()
    torch.testing.assert_close(total, data[f"{tag}_g_loss"], **CLOSE)
    torch.testing.assert_close(now.x.grad, data[f"{tag}_grad_gen_out"], **CLOSE)
    loss = ready(data, loss=form)
    total = loss.critic_loss(QUIET, step(data, "discriminator")).sum() / 4
    total.backward()
    torch.testing.assert_close(total, data[f"{tag}_d_loss"], **CLOSE)
    for W, name in zip(loss.D.W, "ab", strict=True):
        torch.testing.assert_close(W.grad, data[f"{tag}_grad_W_{name}"], **CLOSE)


def test_the_logits_are_the_references(data: dict[str, Tensor]) -> None:
    stub = Stub(data["W_a"], data["W_b"])
    for kind, images in (("fake", "gen_out"), ("real", "real_images")):
        for got, name in zip(stub(data[images], None), "ab", strict=True):
            torch.testing.assert_close(got, data[f"{kind}_logits_{name}"], **CLOSE)


def test_the_mean_is_the_sum_over_the_batch_size(data: dict[str, Tensor]) -> None:
    summed, mean = ready(data), ready(data, reduction="mean")
    for a, b in (
        [loss.generator_loss(step(data, "generator")) for loss in (summed, mean)],
        [loss.critic_loss(QUIET, step(data, "discriminator")) for loss in (summed, mean)],
    ):
        torch.testing.assert_close(a, 4 * b)


@pytest.mark.parametrize("tag", ["ns", "hinge"])
def test_the_gradient_penalty_and_its_gradient_are_the_references(data: dict[str, Tensor], tag: str) -> None:
    loss = ready(data)
    per_image = loss.penalty(QUIET, step(data, "r1"))
    (per_image.sum() / 4).backward()
    torch.testing.assert_close(per_image / 16 / 5e-5, data["r1_penalty_per_sample"], **CLOSE)
    torch.testing.assert_close(per_image.mean() / 16, data["r1_loss_scalar_gamma1em4"], rtol=1e-4, atol=1e-8)
    for W, name in zip(loss.D.W, "ab", strict=True):
        torch.testing.assert_close(W.grad, data[f"{tag}_r1_gain16_grad_W_{name}"], rtol=1e-4, atol=1e-6)


def test_the_students_coefficients_are_the_references_and_the_teachers_stay_edms(data: dict[str, Tensor]) -> None:
    state = toy_state(generator_loss={"use": "gdd"}, **TEACHER)
    for net, tag in ((state.generator, "GDDPrecond"), (state.teacher.network, "EDMPrecond")):
        for got, name in zip(net.scalings(data[f"{tag}_sigma"]), ("skip", "out", "in", "noise"), strict=True):
            torch.testing.assert_close(got, data[f"{tag}_c_{name}"], **CLOSE)
    assert state.generator.card["network"]["preconditioning"] == "consistency"
    assert state.generator.card["network"]["dropout"] == 0 != state.teacher.network.card["network"]["dropout"]


def test_the_published_optimizers_and_input() -> None:
    state = toy_state(generator_loss={"use": "gdd"}, **{**TEACHER, "generator": {}})
    d = state.settings["discriminator"]
    assert (d.lr, d.betas) == (pytest.approx(1e-4 * 16 / 17), (0.0, pytest.approx(0.99 ** (16 / 17))))
    assert Gdd.recipe_defaults["generator"]["optimizer"]["betas"] == [0.0, 0.99]
    assert state.components["sample"].config.sigma_init == 80
    without = toy_state(generator_loss={"use": "gdd", "r1_gamma": 0.0}, **TEACHER)
    assert without.settings["discriminator"].lr == 1e-4 and len(without.turns) == 2


def test_r1_has_an_update_of_its_own_every_sixteenth_iteration_but_not_the_first() -> None:
    state = toy_state(generator_loss={"use": "gdd"}, **TEACHER)
    taken = []
    for state.iteration in range(40):
        taken += [(state.iteration, turn.name) for turn in state.turns if due(state, turn)]
    assert [i for i, name in taken if name == "r1"] == [16, 32]
    assert [name for i, name in taken if i == 16] == ["generator", "discriminator", "r1"]


def test_gdd_i_moves_only_what_its_level_leaves() -> None:
    state = toy_state(generator_loss={"use": "gdd-i", "r1_gamma": 0.0}, **TEACHER)
    before = {name: p.detach().clone() for name, p in state.generator.named_parameters()}
    iterate(state)
    still = {name for name, p in state.generator.named_parameters() if torch.equal(p, before[name])}
    assert state.frozen and state.frozen <= still
    assert all("conv" in name or "proj" in name for name in state.frozen)
    assert {"model.enc.8x8_conv.weight", "model.dec.8x8_aux_conv.weight"}.isdisjoint(state.frozen)
    assert not any(p.grad is not None for p in state.generator.parameters())
    assert GddI.Config().freeze == 1


def test_gdd_i_refuses_a_network_of_which_it_would_freeze_nothing() -> None:
    with pytest.raises(UsageError, match="MlpDenoiser has none: take `gdd`"):
        toy_state(generator_loss={"use": "gdd-i"})


def test_the_frozen_half_of_the_discriminator_never_moves_and_gets_no_gradient() -> None:
    backbones = [{"use": "teacher-encoder"}, {"use": "random-pyramid"}]
    state = toy_state(generator_loss={"use": "gdd", "r1_every": 1, "backbones": backbones}, **TEACHER)
    D = state.components["generator_loss"].D
    frozen = [p for projection in D.projections for p in projection.parameters()]
    before, teacher = [p.clone() for p in frozen], weights(state)["teacher"]
    for state.iteration in (1, 2):
        for turn in state.turns:
            assert moved(state, turn) == set(turn.trains)
            assert all(p.grad is None and not p.requires_grad for p in frozen)
    assert all(torch.equal(a, b) for a, b in zip(frozen, before, strict=True))
    assert torch.equal(weights(state)["teacher"], teacher)
    trained = {p.data_ptr() for p in state.updaters["discriminator"].params}
    assert trained.isdisjoint(p.data_ptr() for p in frozen)


def test_logits_and_accuracies_are_logged() -> None:
    loss = {"use": "gdd", "projection": 8, "width": 16, "end_size": 2, "embedding": 8, "cmap": 4}
    state = toy_state(generator_loss=loss)
    iterate(state)
    means = state.records.means()
    assert {f"{what}/{side}" for what in ("logit", "accuracy") for side in ("real", "fake")} <= means.keys()
    assert 0 <= means["accuracy/real"] <= 1 and means["logit/deviation"] > 0
