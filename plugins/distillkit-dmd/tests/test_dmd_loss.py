"""DMD and DMD2 against the reference's numbers, and the properties that their equations promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_dmd.config import T
from distillkit_dmd.dmd import Dmd, grid_sigma, matching_gradient
from distillkit_dmd.dmd2 import Dmd2
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distillkit.builtin.mixture import MixtureConfig, MixtureTeacher
from distillkit.testing import Affine, replayed, toy_state, toy_step
from distillkit.train.iterate import due
from distillkit.train.state import State
from distillkit.train.step import Step

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}
Data = dict[str, Tensor]
BOTH = pytest.mark.parametrize("keys", [{"use": "dmd"}, {"use": "dmd2", "gan": False}])
IMAGES = {"resolution": 8, "channels": 3, "label_dim": 0}
POINTS = {"dataset": {"use": "gaussian-mixture"}, "run": {"precision": "fp64"}}


@pytest.fixture
def data() -> Data:
    with np.load(Path(__file__).parent / "data" / "dmd2_loss_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def ready(fake: Any, keys: dict[str, Any], **tables: Any) -> tuple[Any, State]:
    """The method as the engine has set it up, and then another fake score."""
    state = toy_state(**{"dataset": IMAGES, **tables}, generator_loss=keys)
    loss: Any = state.components["generator_loss"]
    loss.fake_score = fake
    return loss, state


def arguments(loss: Any, state: State) -> dict[str, Any]:
    """DMD's hooks do not ask for the state."""
    return {"state": state} if isinstance(loss, Dmd2) else {}


def networks(data: Data) -> tuple[Affine, Affine]:
    """Teacher and fake score."""
    teacher, fake = (Affine(data[f"A_{name}"], data[f"B_{name}"]) for name in ("real", "fake"))
    return teacher.requires_grad_(False), fake


def time_draw(t: Tensor, first: int = 0, last: int = T - 1) -> Tensor:
    """The uniform draw of which `grid_sigma(step, first, last)` makes time step t [N,1,1,1]."""
    return (t - first + 0.5) / (last - first + 1)


def noise_draw(data: Data, tag: str) -> Tensor:
    """The noise n of the recorded x + sigma n."""
    draw: Tensor = (data[f"{tag}_x_noisy"] - data["images"]) / data[f"{tag}_sigma"]
    return draw


def matching_step(state: State, data: Data, x: Tensor) -> Step:
    """The recorded draws of Eq. (7)."""
    return replayed(state, [time_draw(data["dm_timesteps"], 20, 980), noise_draw(data, "dm")], x)


@BOTH
def test_the_generator_loss_and_its_gradient_are_the_references(data: Data, keys: dict[str, Any]) -> None:
    teacher, fake = networks(data)
    loss, state = ready(fake, keys)
    x = data["images"].clone().requires_grad_()
    step = matching_step(state, data, x)
    per_image = loss.generator_loss(step=step, teacher_score=teacher, **arguments(loss, state))
    (per_image.sum() / 4).backward()
    torch.testing.assert_close(teacher.calls[0].x, data["dm_x_noisy"], **CLOSE)
    torch.testing.assert_close(teacher.calls[0].D, data["dm_pred_real"], **CLOSE)
    torch.testing.assert_close(loss.fake_score.calls[0].D, data["dm_pred_fake"], **CLOSE)
    torch.testing.assert_close(per_image.sum() / 4, data["dm_loss"], **CLOSE)
    torch.testing.assert_close(x.grad, data["dm_grad_images"], **CLOSE)
    assert loss.fake_score.A.grad is None
    g = matching_gradient(x, data["dm_pred_real"], data["dm_pred_fake"])
    torch.testing.assert_close(g, data["dm_grad"], **CLOSE)


@BOTH
def test_the_fake_score_loss_and_its_gradient_are_the_references(data: Data, keys: dict[str, Any]) -> None:
    _, fake = networks(data)
    loss, state = ready(fake, keys)
    t = (data["karras_sigmas"].view(1, -1) - data["fs_sigma"].view(-1, 1)).abs().argmin(1).view(-1, 1, 1, 1)
    step = replayed(state, [time_draw(t), noise_draw(data, "fs")], data["images"])
    per_image = loss.critic_loss(step=step, **arguments(loss, state))
    (per_image.sum() / 4).backward()
    call = loss.fake_score.calls[0]
    torch.testing.assert_close(call.x, data["fs_x_noisy"], **CLOSE)
    torch.testing.assert_close(call.D, data["fs_pred"], **CLOSE)
    torch.testing.assert_close(per_image.sum() / 4, data["fs_loss"], **CLOSE)
    torch.testing.assert_close(call.D.grad, data["fs_grad_pred"], **CLOSE)


def test_without_its_weight_the_fake_score_loss_is_a_mean_squared_error(data: Data) -> None:
    _, fake = networks(data)
    loss, state = ready(fake, {"use": "dmd", "fake_weight": "none"})
    step = replayed(state, [torch.full((4, 1, 1, 1), 0.5), noise_draw(data, "fs")], data["images"])
    found = loss.critic_loss(step)
    torch.testing.assert_close(found, ((fake.calls[0].D - data["images"]) ** 2).flatten(1).mean(1))


def test_the_grid_is_the_references(state: State, data: Data) -> None:
    sigma = grid_sigma(replayed(state, [time_draw(torch.arange(1000).view(-1, 1, 1, 1))]), 0, 999)
    torch.testing.assert_close(sigma.flatten(), data["karras_sigmas"], rtol=1e-4, atol=0)


@pytest.fixture(scope="module")
def state() -> State:
    return toy_state()


@settings(max_examples=30, derandomize=True, deadline=None)
@given(
    u=st.floats(0, 1, exclude_max=True, width=32),
    T_min=st.sampled_from([0.0, 0.02]),
    T_max=st.sampled_from([0.98, 1.0]),
)
def test_sigma_stays_within_its_range(state: State, u: float, T_min: float, T_max: float) -> None:
    loss = Dmd(Dmd.Config(T_min=T_min, T_max=T_max))
    sigma = float(loss.generator_sigma(replayed(state, [torch.full((1, 1, 1, 1), u)])))
    assert 0.002 * (1 - 1e-4) <= sigma <= 80 * (1 + 1e-4)
    assert T_max == 1.0 or sigma < 74.0


def test_the_gan_losses_are_the_references_on_its_logits(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, fake = networks(data)
    loss, state = ready(fake, {"use": "dmd2", "gen_cls_loss_weight": 1.0, "guidance_cls_loss_weight": 1.0})
    l_fake, l_real = (data[f"gan_logit_{name}"].clone().requires_grad_() for name in ("fake", "real"))
    step = toy_step(state, n=4)
    step.x, step.real = data["images"], -data["images"]
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


def analytic_score(config: MixtureConfig, x_t: Tensor, sigma: Tensor) -> Tensor:
    """grad log p_t of the mixture, by autograd of its density."""
    x_t = x_t.clone().requires_grad_()
    points, variance = x_t.flatten(1), config.std**2 + sigma.reshape(-1, 1) ** 2
    distance = (points[:, None] - config.means(x_t)[None]).square().sum(2)
    log_p = (-0.5 * distance / variance).logsumexp(1) - variance[:, 0].log()
    return torch.autograd.grad(log_p.sum(), x_t)[0]


@BOTH
def test_against_the_closed_form_teacher_the_gradient_is_the_weighted_difference_of_analytic_scores(
    keys: dict[str, Any],
) -> None:
    real, fake = MixtureConfig(), MixtureConfig(modes=3, radius=0.4, std=0.2)
    loss, state = ready(None, keys, **POINTS)
    score: dict[str, Any] = {
        name: lambda x, sigma, labels=None, config=config: MixtureTeacher(config).teacher_score(state, x, sigma, labels)
        for name, config in (("real", real), ("fake", fake))
    }
    generator = torch.Generator().manual_seed(0)
    x, n = (torch.randn(32, 2, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.randint(20, 981, (32, 1, 1, 1), generator=generator)
    sigma = grid_sigma(replayed(state, [time_draw(t.double())]), 0, 999)
    loss.fake_score = score["fake"]
    x_t = x + sigma * n
    step = replayed(state, [time_draw(t.double(), 20, 980), n], x.clone().requires_grad_())
    loss.generator_loss(step=step, teacher_score=score["real"], **arguments(loss, state)).sum().backward()
    gap = analytic_score(fake, x_t, sigma) - analytic_score(real, x_t, sigma)
    w = sigma**2 * 2 / (score["real"](x_t, sigma) - x).abs().sum(1, keepdim=True)
    torch.testing.assert_close(step.x.grad, w * gap / 2, rtol=1e-6, atol=1e-9)  # / 2: the mean over two values


def test_nothing_is_left_to_learn_where_the_two_scores_agree(data: Data) -> None:
    teacher, _ = networks(data)
    loss, state = ready(teacher, {"use": "dmd"})
    x = data["images"].clone().requires_grad_()
    loss.generator_loss(matching_step(state, data, x), teacher).sum().backward()
    assert x.grad is not None and x.grad.abs().max() == 0


def test_the_published_constants_are_the_defaults() -> None:
    for cls, critic, lr, kimg in ((Dmd, "fake_score", 5e-5, 196.0), (Dmd2, "guidance", 2e-6, 20.0)):
        found = toy_state(generator_loss={"use": cls.__name__.lower()}).settings[critic]
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
def test_the_generator_moves_every_fifth_iteration(update: str, taken: list[list[str]]) -> None:
    state, found = toy_state(generator_loss={"use": "dmd2", "update": update}), []
    for state.iteration in range(10):
        found.append([turn.name for turn in state.turns if due(state, turn)])
    assert found == 2 * taken


def test_dmd_moves_both_at_every_iteration_on_the_same_images() -> None:
    state = toy_state(generator_loss={"use": "dmd"})
    assert [(turn.name, turn.every, turn.same_images_as) for turn in state.turns] == [
        ("generator", 1, ""), ("fake_score", 1, "generator")
    ]  # fmt: skip


def test_t_max_must_be_above_t_min() -> None:
    with pytest.raises(ValueError, match=r"'T_max' must be above T_min = 0.5: 0.3"):
        Dmd.Config(T_min=0.5, T_max=0.3)
