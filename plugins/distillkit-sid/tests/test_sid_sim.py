"""SIM: the numbers of Uni-Instruct's code, what its equations promise in closed form, and steps drawn at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from distillkit_sid.sid import Sid
from distillkit_sid.sim import sim_loss
from torch import Tensor

from distillkit import noise
from distillkit.api import UsageError
from distillkit.testing import Affine, replayed, toy_state
from distillkit.testing.training import run, weights

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}
SIM: dict[str, Any] = {"alpha": 1.0, "noise": "lognormal", "lsg": 1e6, "w_min": 1e6}  # w is its bound
FEW = {"use": "few-step", "sigmas": [10.0, 1.0], "sigma_min": 0.0, "clamp": False}


@pytest.fixture
def data() -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "data" / "uni_instruct_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def test_what_uni_instructs_code_calls_sim_is_sid_with_alpha_of_one(data: dict[str, Tensor]) -> None:
    state = toy_state(
        dataset={"resolution": 8, "channels": 3, "label_dim": 0}, generator_loss={"use": "sid", "alpha": 1.0}
    )
    loss = cast(Sid, state.components["generator_loss"])
    loss.fake_score = cast(Any, Affine(data["A"], data["B"]).requires_grad_(False))
    teacher, x = Affine(data["At"], data["Bt"]).requires_grad_(False), data["x"].clone().requires_grad_()
    u = data["sim_draw00_rand"]
    torch.testing.assert_close(noise.rho_grid(1 - u * 0.8), data["sim_sigma"], **CLOSE)
    step = replayed(state, [u, data["sim_draw01_randn_like"]], x)
    per_image = loss.generator_loss(state, step, teacher)
    torch.testing.assert_close(teacher.calls[0].x, data["sim_x_t"], **CLOSE)
    torch.testing.assert_close(teacher.calls[0].D, data["sim_D_real"], **CLOSE)
    torch.testing.assert_close(cast(Any, loss.fake_score).calls[0].D, data["sim_D_fake"], **CLOSE)
    torch.testing.assert_close(per_image / 100, data["sim_loss"].flatten(1).sum(1), **CLOSE)
    total = per_image.mean()
    total.backward()
    torch.testing.assert_close(total, data["sim_scalar_lsg100"], **CLOSE)
    torch.testing.assert_close(x.grad, data["sim_grad_x"], rtol=1e-4, atol=1e-3)


def sides(seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(3))


def test_huber_points_where_l2_does_and_is_it_where_c_is_large() -> None:
    x, D_real, D_fake = sides()
    w = torch.ones(3, 1, 1, 1, dtype=torch.float64)
    l2, huber, far = (sim_loss(x, D_real, D_fake, c, w) for c in (None, 1e-12, 1e9))
    size = (D_real - D_fake).square().sum((1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(huber * size, l2)
    torch.testing.assert_close(far * 1e9 * 32**0.5, l2)


def test_the_distance_is_a_constant_and_the_weight_divides() -> None:
    x, D_real, D_fake = (side.requires_grad_() for side in sides())
    w = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).view(3, 1, 1, 1)
    for c in (None, 0.3):
        at = torch.autograd.grad(sim_loss(x, D_real, D_fake, c, w).sum(), (x, D_real, D_fake), allow_unused=True)
        u = (D_real - D_fake).detach()
        d = u if c is None else u / (u.square().sum((1, 2, 3), keepdim=True) + 0.09 * 32).sqrt()
        assert at[1] is None
        torch.testing.assert_close(at[0], -d / w)
        torch.testing.assert_close(at[2], d / w)


@pytest.mark.parametrize("distance", ["l2", "huber"])
def test_nothing_pulls_where_the_two_scores_agree(data: dict[str, Tensor], distance: str) -> None:
    state = toy_state(dataset={"resolution": 8, "channels": 3, "label_dim": 0},
                      generator_loss={"use": "sid", "alpha": 1.0, "distance": distance})  # fmt: skip
    loss, x = cast(Sid, state.components["generator_loss"]), data["x"].clone().requires_grad_()
    loss.fake_score = teacher = cast(Any, Affine(data["A"], data["B"]))
    per_image = loss.generator_loss(state, replayed(state, [data["sim_draw00_rand"], data["x"]], x), teacher)
    per_image.sum().backward()
    assert per_image.abs().max() == 0 and x.grad is not None and x.grad.abs().max() == 0


def test_another_alpha_is_refused() -> None:
    with pytest.raises(UsageError, match="must be 1, and is"):
        toy_state(generator_loss={"use": "sid", "distance": "huber"})


@pytest.mark.parametrize("use", ["sid", "sida"])
def test_steps_drawn_at_random_train_by_the_last_call_or_by_all(use: str) -> None:
    gates = {"generator_after_kimg": 0.0, "gan_after_kimg": 0.0} if use == "sida" else {}
    trained = [
        weights(run(toy_state(sample=FEW, generator_loss={"use": use, **gates, **keys}), 6))["generator"]
        for keys in ({}, {"rollout": "last"}, {"rollout": "all"})
    ]
    assert not any(a.equal(b) for a, b in zip(trained, trained[1:] + trained[:1], strict=True))


def test_steps_need_a_sampler_that_has_some() -> None:
    with pytest.raises(UsageError, match='rollout = "all" trains the steps of'):
        toy_state(generator_loss={"use": "sid", "rollout": "all"})
