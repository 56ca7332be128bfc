"""The classifier's shape, who trains it, and what iterations with it cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from distillkit_dmd.classifier import Head, classifier_for, groups
from torch.utils.flop_counter import FlopCounterMode

from distillkit.api import UsageError
from distillkit.testing import toy_state
from distillkit.train import turns
from distillkit.train.iterate import iterate
from distillkit.train.state import State

UNET = {
    "use": "edm-ddpmpp", "model_channels": 16, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "dropout": 0.1,
}  # fmt: skip
TEACHER = {"teacher_score": {"network": UNET}}


def flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_at_8_px_the_head_has_the_references_layers() -> None:
    head = Head(768, 8)
    found = [(tuple(m.weight.shape), m.stride, m.padding) for m in head if isinstance(m, torch.nn.Conv2d)]
    assert found == [
        ((768, 768, 4, 4), (2, 2), (1, 1)), ((768, 768, 4, 4), (1, 1), (0, 0)), ((1, 768, 1, 1), (1, 1), (0, 0))
    ]  # fmt: skip
    assert [m.num_groups for m in head if isinstance(m, torch.nn.GroupNorm)] == [32, 32]


@pytest.mark.parametrize("channels", [1, 3, 34, 37, 130])
def test_a_head_takes_maps_of_any_width(channels: int) -> None:
    x = torch.randn(3, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    assert Head(channels, 8)(x).isfinite().all()


def test_groups_divide_the_channels_and_have_four_or_more_of_them() -> None:
    found = {channels: groups(channels) for channels in range(1, 1500)}
    assert all(channels % n == 0 and (channels // n >= 4 or n == 1) for channels, n in found.items())
    quarter = {channels: min(32, max(channels // 4, 1)) for channels in found}
    assert all(found[c] == n for c, n in quarter.items() if c % n == 0), "as before where a quarter divides"
    assert (found[34], found[36], found[66], found[130]) == (2, 9, 11, 26)
    assert {found[channels] for channels in (128, 256, 512, 768, 1280)} == {32}, "as in DMD2 and FastGen"


@pytest.mark.parametrize("resolution", [1, 2, 4, 7, 8, 16, 32])
def test_a_head_makes_one_logit_of_any_map_and_does_not_flatten_narrow_ones_to_zero(resolution: int) -> None:
    x = torch.randn(3, 16, resolution, resolution, generator=torch.Generator().manual_seed(0))
    logits = Head(16, resolution)(x)
    assert logits.shape == (3, 1) and logits.std() > 1e-3


def test_logits_have_one_column_per_tap() -> None:
    state = toy_state(**TEACHER, generator_loss={"use": "dmd2", "taps": [8, 4]})
    method = state.components["generator_loss"]
    features = method.features.encoder_features(torch.zeros(5, 2, 8, 8), 1.0)
    assert [features[i].shape[2] for i in method.classifier.taps] == [8, 4]
    assert method.classifier(features).shape == (5, 2)


def test_a_tap_that_is_not_there_and_a_network_without_an_encoder_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no maps of 5 px, only of \[8, 4\]"):
        toy_state(**TEACHER, generator_loss={"use": "dmd2", "taps": [5]})
    with pytest.raises(UsageError, match="Linear has none"):
        classifier_for(toy_state(), torch.nn.Linear(2, 2), (), 0)


@pytest.mark.parametrize("features", ["fake_score", "teacher"])
def test_the_adversary_reaches_the_generator_and_no_frozen_weight(features: str) -> None:
    table = {"use": "dmd2", "features": features, "dfake_gen_update_ratio": 2, "warmup_kimg": 0.0, "lr": 1e-3}
    state = toy_state(**TEACHER, generator_loss=table)
    network = state.components["generator_loss"].features
    before = [p.clone() for p in network.parameters()]
    (generator, guidance) = state.turns
    turns.take(state, generator)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    turns.take(state, guidance)
    still = all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert still == (features == "teacher")
    assert all(p.grad is None for p in state.teacher.network.parameters())


def test_fake_score_and_classifier_share_one_clipped_norm() -> None:
    state = toy_state(**TEACHER, generator_loss={"use": "dmd2", "clip_norm": 1e-3})
    found = {}
    step = state.updaters["guidance"].optimizer.step

    def spy() -> None:
        found["norm"] = torch.nn.utils.get_total_norm([p.grad for p in state.networks["guidance"].parameters()])
        step()

    state.updaters["guidance"].optimizer.step = spy
    iterate(state)
    assert float(found["norm"]) == pytest.approx(1e-3, rel=1e-3)


def costs(state: State) -> tuple[int, int, int]:
    """FLOPs of a forward pass F, and e: of the encoder with the classifier."""
    x, sigma = torch.zeros(state.batch, *state.dataset.shape), torch.ones(())
    method = state.components["generator_loss"]
    with torch.no_grad():
        F = flops(lambda: state.ema(x, sigma, None))
        encoder = flops(lambda: state.teacher.network.encoder_features(x, sigma, None))
        features = state.teacher.network.encoder_features(x, sigma, None)
        head = flops(lambda: method.classifier(features)) if getattr(method, "classifier", None) else 0
    return F, encoder, head


def test_an_iteration_of_dmd_costs_eight_forward_passes() -> None:
    state = toy_state(**TEACHER, generator_loss={"use": "dmd"})
    assert flops(lambda: iterate(state)) <= 1.02 * 8 * costs(state)[0]


def test_five_iterations_of_dmd2_cost_24_passes_and_32_of_the_encoder() -> None:
    state = toy_state(**TEACHER, generator_loss={"use": "dmd2"})
    F, encoder, head = costs(state)
    assert flops(lambda: [iterate(state) for _ in range(5)]) <= 1.02 * (24 * F + 32 * (encoder + head))


def test_without_the_gan_they_cost_24_passes() -> None:
    state = toy_state(**TEACHER, generator_loss={"use": "dmd2", "gan": False})
    assert flops(lambda: [iterate(state) for _ in range(5)]) <= 1.02 * 24 * costs(state)[0]


def test_fastgens_variant_costs_21_passes_and_10_of_the_encoder() -> None:
    """Its encoder passes of the teacher need no gradients in the guidance turns; the heads train there."""
    state = toy_state(**TEACHER, generator_loss={"use": "dmd2", "features": "teacher", "update": "alternate"})
    F, encoder, head = costs(state)
    assert flops(lambda: [iterate(state) for _ in range(5)]) <= 1.02 * (21 * F + 10 * encoder + 26 * head)


def test_precision_reaches_the_fake_score_inside_guidance() -> None:
    state = toy_state(**TEACHER, generator_loss={"use": "dmd2"}, run={"precision": "bf16"})
    assert state.networks["guidance"].fake_score.compute_dtype is torch.bfloat16
    iterate(state)
    assert state.skipped == 0
