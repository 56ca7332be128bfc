"""Diff-Instruct against the reference's numbers, and the properties that its equations promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from distillkit_di.di import DiffInstruct
from torch import Tensor, nn

from distillkit import noise
from distillkit.builtin.mixture import MixtureConfig, MixtureTeacher
from distillkit.testing import Affine, lognormal_draw, replayed, toy_state
from distillkit.train.state import State
from distillkit.train.step import Step

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
Data = dict[str, Tensor]
IMAGES = {"resolution": 8, "channels": 3, "label_dim": 0}


class Dropped(nn.Module):
    """Dropout on the image."""

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return nn.functional.dropout(x, 0.5, self.training)


@pytest.fixture
def data() -> Data:
    with np.load(Path(__file__).parent / "data" / "di_loss_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def ready(teacher: Any, fake: Any, dataset: dict[str, Any] = IMAGES, **keys: Any) -> tuple[DiffInstruct, State]:
    """The method as the engine has set it up, and then other scores in their places."""
    state = toy_state(
        dataset=dataset, run={"precision": keys.pop("precision", "fp32")},
        generator_loss={"use": "diff-instruct", **keys},
    )  # fmt: skip
    loss = cast(DiffInstruct, state.components["generator_loss"])
    loss.fake_score = fake
    loss.with_dropout = [net for net in (fake, teacher) if loss.with_dropout]
    return loss, state


def networks(data: Data) -> tuple[Affine, Affine]:
    """Teacher and fake score."""
    teacher, fake = (Affine(data[f"A_{name}"], data[f"B_{name}"]) for name in ("teacher", "fake"))
    return teacher.requires_grad_(False), fake


def replay(state: State, data: Data, tag: str, x: Tensor | None = None) -> Step:
    """The recorded draws of (b), "g", or (c), "fs"; the file holds sigma * n."""
    sigma, scaled = data[f"{tag}_sigma"], data[f"{tag}_noise"]
    return replayed(state, [lognormal_draw(sigma, -1.2, 1.2), scaled / sigma], data["images"] if x is None else x)


def test_the_generator_loss_and_its_gradient_are_the_references(data: Data) -> None:
    teacher, fake = networks(data)
    loss, state = ready(teacher, fake)
    step = replay(state, data, "g", data["images"].clone().requires_grad_())
    per_image = loss.generator_loss(state, step, teacher)
    total = per_image.sum() / 4
    total.backward()
    torch.testing.assert_close(fake.calls[0].x, data["g_x_noisy"], **CLOSE)
    torch.testing.assert_close(teacher.calls[0].x, data["g_x_noisy"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D, data["g_D_fake"], **CLOSE)
    torch.testing.assert_close(teacher.calls[0].D, data["g_D_teacher"], **CLOSE)
    torch.testing.assert_close(per_image, data["g_loss_per_sample"], **CLOSE)
    torch.testing.assert_close(total, data["g_loss_scalar"], **CLOSE)
    torch.testing.assert_close(step.x.grad, data["g_grad_images"], **CLOSE)
    assert fake.A.grad is None


def test_the_fake_score_loss_and_its_gradient_are_the_references(data: Data) -> None:
    teacher, fake = networks(data)
    loss, state = ready(teacher, fake)
    per_image = loss.critic_loss(replay(state, data, "fs"))
    (per_image.sum() / 4).backward()
    torch.testing.assert_close(fake.calls[0].x, data["fs_x_noisy"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D, data["fs_D_fake"], **CLOSE)
    torch.testing.assert_close(per_image, data["fs_loss"].flatten(1).sum(1), **CLOSE)
    torch.testing.assert_close(per_image.sum() / 4, data["fs_loss_scalar"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D.grad, data["fs_grad_D_fake"], **CLOSE)


def analytic_score(config: MixtureConfig, x_t: Tensor, sigma: Tensor) -> Tensor:
    """grad log p_t of the mixture, by autograd of its density."""
    x_t = x_t.clone().requires_grad_()
    points, variance = x_t.flatten(1), config.std**2 + sigma.reshape(-1, 1) ** 2
    distance = (points[:, None] - config.means(x_t)[None]).square().sum(2)
    return torch.autograd.grad((-0.5 * distance / variance).logsumexp(1).sum(), x_t)[0]


@pytest.mark.parametrize("weight", ["one", "code"])
def test_against_the_closed_form_teacher_the_gradient_is_the_difference_of_analytic_scores(weight: str) -> None:
    real, fake = MixtureConfig(), MixtureConfig(modes=3, radius=0.4, std=0.2)

    generator = torch.Generator().manual_seed(0)
    x, n = (torch.randn(32, 2, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    sigma = torch.linspace(-3, 1, 32, dtype=torch.float64).exp().view(-1, 1, 1, 1)
    points: dict[str, Any] = {"dataset": {"use": "gaussian-mixture"}, "precision": "fp64"}
    loss, state = ready(None, None, **points, weight=weight, shared_dropout=False)

    def denoiser(config: MixtureConfig) -> Any:
        return lambda x, sigma, labels=None: MixtureTeacher(config).teacher_score(state, x, sigma, labels)

    loss.fake_score = denoiser(fake)
    step = replayed(state, [lognormal_draw(sigma, -1.2, 1.2), n], x.clone().requires_grad_())
    loss.generator_loss(state, step, denoiser(real)).sum().backward()
    x_t, w = x + sigma * n, sigma**2 if weight == "code" else 1
    gap = analytic_score(fake, x_t, sigma) - analytic_score(real, x_t, sigma)
    torch.testing.assert_close(step.x.grad, w * gap, rtol=1e-8, atol=1e-8)


def test_the_two_scores_share_their_dropout_masks(data: Data) -> None:
    teacher, fake = Dropped(), Dropped()
    loss, state = ready(teacher, fake)
    x = data["images"].clone().requires_grad_()
    assert loss.generator_loss(state, replay(state, data, "g", x), cast(Any, teacher)).abs().max() == 0  # they cancel
    spoilt, state = ready(fake, Affine(*2 * [torch.ones_like(x)]))
    assert spoilt.generator_loss(state, replay(state, data, "g", x), cast(Any, teacher)).abs().max() > 0
    assert not teacher.training and not fake.training


def test_dropout_is_on_for_both_scores_or_for_neither(data: Data) -> None:
    for shared in (True, False):
        teacher, fake = networks(data)
        loss, state = ready(teacher, fake, shared_dropout=shared)
        networks_of = teacher.eval(), fake.eval()
        loss.generator_loss(state, replay(state, data, "g"), teacher)
        assert [net.calls[0].training for net in networks_of] == [shared, shared]
        assert not teacher.training and not fake.training


def test_only_the_fake_score_sees_augmented_images_and_it_is_told(data: Data) -> None:
    teacher, fake = networks(data)
    loss, state = ready(teacher, fake)
    loss.augment = cast(Any, lambda x, step: (x.flip(3), torch.ones(len(x), 9)))
    loss.critic_loss(replay(state, data, "fs"))
    torch.testing.assert_close(fake.calls[0].x, data["images"].flip(3) + data["fs_noise"])
    told = fake.calls[0].augment_labels
    assert told is not None and told.shape == (4, 9)
    loss.generator_loss(state, replay(state, data, "g"), teacher)
    assert fake.calls[1].augment_labels is None


def test_the_published_constants_are_the_defaults(data: Data) -> None:
    loss, state = ready(*networks(data))
    found = state.settings["fake_score"]
    assert (found.name, found.lr, found.betas) == ("adam", 1e-5, (0.0, 0.999))
    assert loss.recipe_defaults["sample"] == {"use": "one-step", "sigma_init": 1.0}
    assert loss.recipe_defaults["generator"]["optimizer"]["betas"] == [0.0, 0.999]


def test_the_fake_score_starts_from_the_teacher_and_one_in_closed_form_has_no_dropout() -> None:
    state = toy_state(generator_loss={"use": "diff-instruct"})
    loss = cast(DiffInstruct, state.components["generator_loss"])
    assert state.teacher is not None and state.teacher.network is not None
    assert loss.with_dropout == [loss.fake_score, state.teacher.network]
    for name, tensor in state.teacher.network.state_dict().items():
        assert torch.equal(tensor, loss.fake_score.state_dict()[name])
    closed = {"dataset": {"use": "gaussian-mixture"}, "teacher_score": {"use": "gaussian-mixture"}}
    scratch = {"init": "scratch", "network": {"use": "mlp", "width": 8}}
    state = toy_state(generator_loss={"use": "diff-instruct"}, generator=scratch, **closed)
    loss = cast(DiffInstruct, state.components["generator_loss"])
    assert loss.with_dropout == [loss.fake_score]


def test_the_edm_weight_is_used_in_the_fake_score_loss(data: Data) -> None:
    teacher, fake = networks(data)
    loss, state = ready(teacher, fake, sgls=2.0)
    found = loss.critic_loss(replay(state, data, "fs"))
    D = fake.calls[0].D
    torch.testing.assert_close(
        found, 2 * (noise.edm_weight(data["fs_sigma"]) * (D - data["images"]) ** 2).flatten(1).sum(1)
    )
