"""FastGen's form of DMD2: one noise for all losses on an image, an optimizer per critic, the student alone clipped."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import torch
from distillkit_dmd.dmd2 import Dmd2
from torch import Tensor

from distillkit.noise import rho_grid
from distillkit.testing import toy_state
from distillkit.train import turns
from distillkit.train.iterate import iterate
from distillkit.train.state import State

UNET = {
    "use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [],
    "dropout": 0.0,
}  # fmt: skip
FASTGEN = {
    "use": "dmd2", "update": "alternate", "features": "teacher", "taps": [8, 4], "fake_weight": "none", "T_min": 0.002,
    "T_max": 0.998, "critic_noise": "matching", "gen_cls_loss_weight": 1e-3, "guidance_cls_loss_weight": 1.0,
    "lr": 1e-3, "classifier_lr": 1e-3, "clip_norm": inf, "warmup_kimg": 0.0,
}  # fmt: skip


def started(**changes: Any) -> State:
    table = {key: value for key, value in {**FASTGEN, **changes}.items() if value is not None}
    return toy_state(teacher_score={"network": UNET}, generator_loss=table)


def weights(state: State, *names: str) -> Tensor:
    return torch.cat([p.detach().flatten() for name in names for p in state.networks[name].parameters()])


def test_fake_score_and_classifier_have_an_optimizer_and_a_rate_each() -> None:
    state = started(classifier_lr=5e-4)
    assert set(state.networks) == {"generator", "fake_score", "classifier"}
    rates = {name: (settings.lr, settings.clip_norm) for name, settings in state.settings.items()}
    assert rates["fake_score"] == (1e-3, inf) and rates["classifier"] == (5e-4, inf)
    assert rates["generator"][1] == 10.0
    assert {turn.trains for turn in state.turns} == {("generator",), ("fake_score", "classifier")}


def test_without_clipping_two_optimizers_of_one_rate_are_one() -> None:
    two, one = started(), started(classifier_lr=None)
    for state in (two, one):
        for _ in range(6):
            iterate(state)
    assert torch.equal(weights(two, "generator", "fake_score", "classifier"), weights(one, "generator", "guidance"))


def test_with_clipping_each_has_a_norm_of_its_own() -> None:
    state, found = started(clip_norm=1e-3), {}
    for name in ("fake_score", "classifier"):
        optimizer = state.updaters[name].optimizer

        def spy(name: str = name, step: Any = optimizer.step) -> None:
            found[name] = float(torch.nn.utils.get_total_norm([p.grad for p in state.networks[name].parameters()]))
            step()

        optimizer.step = spy
    iterate(state), iterate(state)  # the generator's, then theirs
    assert found == {name: pytest.approx(1e-3, rel=1e-3) for name in ("fake_score", "classifier")}


def seen(state: State, turn: Any) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """By network: x_t and sigma of its calls in a turn."""
    calls = {"fake_score": [], "teacher": []}
    fake_score, teacher = state.networks["fake_score"], state.teacher.network
    score, features = fake_score.forward, teacher.encoder_features

    def scored(x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None) -> Tensor:
        calls["fake_score"].append((x.detach(), sigma))
        return score(x, sigma, labels, augment_labels)

    def featured(
        x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> list[Tensor]:
        calls["teacher"].append((x.detach(), sigma))
        return features(x, sigma, labels, augment_labels)

    fake_score.forward, teacher.encoder_features = scored, featured
    turns.take(state, turn)
    return calls


@pytest.mark.parametrize("index", [0, 1])
def test_the_classifier_sees_the_noisy_images_of_the_loss_beside_it(index: Any) -> None:
    state = started()
    calls = seen(state, state.turns[index])
    (x_t, sigma), *_ = calls["fake_score"]
    (shown, level), *real = calls["teacher"]
    assert torch.equal(x_t, shown) and torch.equal(sigma, level)
    assert len(real) == index and not any(torch.equal(level, other) for _, other in real), (
        "real images: draws of their own"
    )


def test_every_noise_level_is_of_the_matching_losss_range() -> None:
    state = started()
    bounds = rho_grid(torch.tensor([1 - 2 / 999, 1 - 998 / 999], dtype=torch.float64))
    for turn in state.turns[:2]:
        for calls in seen(state, turn).values():
            for _, sigma in calls:
                assert bounds[0] * (1 - 1e-4) <= sigma.min() and sigma.max() <= bounds[1] * (1 + 1e-4)


def test_by_itself_the_classifier_has_noise_of_its_own() -> None:
    state = started(critic_noise=None)
    calls = seen(state, state.turns[1])
    assert not torch.equal(calls["fake_score"][0][0], calls["teacher"][0][0])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"critic_noise": "matching", "diffusion_gan_max_timestep": 500}, "no 'diffusion_gan_max_timestep' then"),
        ({"classifier_lr": 1e-4, "gan": False}, "gan = false has none"),
    ],
)
def test_keys_that_would_do_nothing_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dmd2.Config(**keys)


def test_one_pass_of_the_fake_score_gives_the_losses_of_two() -> None:
    changes = {"features": "fake_score", "classifier_lr": None, "dfake_gen_update_ratio": 2, "update": "every"}
    states = [started(**changes, shared_pass=shared) for shared in (True, False)]
    calls = []
    psi = states[0].networks["guidance"].fake_score
    for name in ("forward", "encoder_features", "denoised_features"):
        asked = getattr(psi, name)
        setattr(psi, name, lambda *given, name=name, asked=asked: (calls.append(name), asked(*given))[1])
    for _ in range(2):
        for state in states:
            iterate(state)
    # Once for the generator; in each of the two other turns the pass that denoises, and real images.
    assert sorted(calls) == ["denoised_features"] * 3 + ["encoder_features"] * 2
    torch.testing.assert_close(*(weights(state, "generator", "guidance") for state in states), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("changes", [{"critic_noise": None}, {"features": "teacher"}, {"gan": False}])
def test_a_shared_pass_needs_one_noise_and_the_fake_scores_features(changes: dict[str, Any]) -> None:
    keys = {"critic_noise": "matching", "shared_pass": True, **changes}
    with pytest.raises(ValueError, match="shared_pass"):
        Dmd2.Config(**keys)
