"""SiD against the reference's numbers, and the properties that its equations promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pluggy
import pytest
import torch
from distillkit_sid.sid import Sid
from distillkit_sid.sida import Sida
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distillkit import noise
from distillkit.api import Choice, Hooks
from distillkit.testing import Affine, lognormal_draw, replayed, toy_state
from distillkit.train.state import State
from distillkit.train.step import Step

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}
Data = dict[str, Tensor]


@pytest.fixture
def data() -> Data:
    with np.load(Path(__file__).parent / "data" / "sid_loss_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def ready(fake: Affine | None = None, **keys: Any) -> tuple[Sid, State]:
    """SiD as the engine has set it up, with another fake score."""
    images = {"resolution": 8, "channels": 3, "label_dim": 0}
    state = toy_state(dataset=images, generator_loss={"use": "sid", **keys})
    loss = cast(Sid, state.components["generator_loss"])
    if fake is not None:
        loss.fake_score = cast(Any, fake)
    return loss, state


def networks(data: Data) -> tuple[Affine, Affine]:
    """Teacher and fake score, frozen."""
    teacher, fake = (Affine(data[f"A_{name}"], data[f"B_{name}"]) for name in ("true", "fake"))
    return teacher.requires_grad_(False), fake.requires_grad_(False)


def grid_draw(sigma: Tensor, tmax: float = 800.0) -> Tensor:
    """The uniform draw of which (d) makes sigma."""
    top, bottom = noise.SIGMA_MAX ** (1 / noise.RHO), noise.SIGMA_MIN ** (1 / noise.RHO)
    u = 1 - (sigma.double() ** (1 / noise.RHO) - top) / (bottom - top)
    draw: Tensor = u.clamp(min=0) / (tmax / 1000)
    return draw


def generator_step(state: State, data: Data, tag: str, x: Tensor | None = None, tmax: float = 800.0) -> Step:
    """The recorded draws of (b); the file holds sigma * n."""
    sigma, scaled = data[f"{tag}_sigma"], data[f"{tag}_noise"]
    return replayed(state, [grid_draw(sigma, tmax), scaled / sigma], data["images"] if x is None else x)


def critic_step(state: State, data: Data) -> Step:
    """The recorded draws of (a); the file holds sigma * n."""
    sigma, scaled = data["fs_sigma"], data["fs_noise"]
    return replayed(state, [lognormal_draw(sigma, -1.2, 1.2), scaled / sigma], data["images"])


@pytest.mark.parametrize("tag", ["a1p2", "a1p0", "a1p2_tmax1000", "a1p2_nan"])
def test_the_generator_loss_and_all_its_gradients_are_the_references(data: Data, tag: str) -> None:
    want = {key[len(tag) + 1 :]: value for key, value in data.items() if key.startswith(tag + "_")}
    nan = tag.endswith("nan")
    teacher, fake = networks(data)
    if nan:
        teacher.A[2] = torch.nan
    alpha, tmax = float(want["alpha"]), float(want["tmax"])
    loss, state = ready(fake, alpha=alpha, tmax=tmax, nonfinite_images="drop")
    x = data["images"].clone().requires_grad_()
    per_image = loss.generator_loss(state, generator_step(state, data, tag, x, tmax), teacher)
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
    assert state.records.means()["dropped_images"] == nan * state.batch / 4
    assert per_image[2] == 0 or not nan


def test_refuse_leaves_a_nan_where_the_engine_can_see_it(data: Data) -> None:
    teacher, fake = networks(data)
    teacher.A[2] = torch.nan
    loss, state = ready(fake)
    per_image = loss.generator_loss(state, generator_step(state, data, "a1p2_nan"), teacher)
    assert per_image.isnan().tolist() == [False, False, True, False]
    assert state.records.means() == {}


def test_the_fake_score_loss_is_the_references(data: Data) -> None:
    _, fake = networks(data)
    loss, state = ready(fake.requires_grad_(True))
    per_image = loss.critic_loss(critic_step(state, data))
    (per_image.sum() / 4).backward()
    torch.testing.assert_close(fake.calls[0].x, data["fs_x_noisy"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D, data["fs_y_fake"], **CLOSE)
    torch.testing.assert_close(per_image, data["fs_loss"].flatten(1).sum(1), **CLOSE)
    torch.testing.assert_close(per_image.sum() / 4, data["fs_loss_scalar_ls1"], **CLOSE)
    torch.testing.assert_close(fake.calls[0].D.grad, data["fs_grad_y_fake"], rtol=1e-4, atol=1e-3)


def test_nothing_is_left_to_learn_where_the_two_scores_agree(data: Data) -> None:
    teacher, _ = networks(data)
    loss, state = ready(teacher)
    x = data["images"].clone().requires_grad_()
    per_image = loss.generator_loss(state, generator_step(state, data, "a1p2", x), teacher)
    per_image.sum().backward()
    assert per_image.abs().max() == 0 and x.grad is not None and x.grad.abs().max() == 0


@pytest.fixture(scope="module")
def state() -> State:
    return ready()[1]


@settings(max_examples=30, derandomize=True, deadline=None)
@given(u=st.floats(0, 1, exclude_max=True, width=32), tmax=st.sampled_from([1.0, 500.0, 800.0, 1000.0]))
def test_the_grid_gives_every_sigma_from_its_smallest_up_to_tmax(state: State, u: float, tmax: float) -> None:
    step = replayed(state, [torch.full((1, 1, 1, 1), u)])
    sigma = float(Sid(Sid.Config(tmax=tmax)).generator_sigma(step))
    largest = float(noise.rho_grid(torch.tensor(1 - tmax / 1000, dtype=torch.float64)))
    assert 0.002 * (1 - 1e-4) <= sigma <= largest * (1 + 1e-4)
    assert tmax != 800 or largest == pytest.approx(24.4, abs=0.1)


def test_the_lognormal_noise_takes_the_generators_own_constants(state: State) -> None:
    step = replayed(state, [torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)])
    sigma = Sid(Sid.Config(noise="lognormal")).generator_sigma(step)
    torch.testing.assert_close(sigma.log().flatten(), torch.tensor([-0.6, 0.8]))


class Flip:
    """An augmentation that always acts."""

    def __call__(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        return x.flip(3), torch.ones(len(x), 9)


def test_only_the_fake_score_sees_augmented_images_and_it_is_told(data: Data) -> None:
    teacher, fake = networks(data)
    loss, state = ready(fake)
    loss.augment = cast(Any, Flip())
    per_image = loss.critic_loss(critic_step(state, data))
    flipped = data["images"].flip(3)
    torch.testing.assert_close(fake.calls[0].x, flipped + data["fs_noise"])
    told = fake.calls[0].augment_labels
    assert told is not None and told.shape == (4, 9)
    weight = noise.edm_weight(data["fs_sigma"])
    torch.testing.assert_close(per_image, (weight * (fake.calls[0].D - flipped) ** 2).flatten(1).sum(1))
    loss.generator_loss(state, generator_step(state, data, "a1p2"), teacher)
    assert fake.calls[1].augment_labels is None


def test_a_joint_turn_runs_the_fake_score_once_and_mixes_no_gradients(data: Data) -> None:
    teacher, fake = networks(data)
    loss, state = ready(fake.requires_grad_(True), shared_forward=True)
    assert [(turn.trains, turn.losses) for turn in state.turns] == [
        (("fake_score", "generator"), ("critic_loss", "generator_loss"))
    ]
    step = generator_step(state, data, "a1p2", data["images"].clone().requires_grad_())
    (loss.critic_loss(step).sum() / 4).backward(inputs=list(fake.parameters()), retain_graph=True)
    assert step.x.grad is None
    (loss.generator_loss(state, step, teacher).sum() / 4).backward(inputs=[step.x])
    assert len(fake.calls) == 1 and loss._shared is None
    torch.testing.assert_close(step.x.grad, data["a1p2_grad_images"], rtol=1e-4, atol=1e-3)
    D = fake.calls[0].D.detach()
    wanted = 2 * noise.edm_weight(data["a1p2_sigma"]) * (D - data["images"]) * data["a1p2_x_noisy"] / 4
    torch.testing.assert_close(fake.A.grad, wanted, rtol=1e-3, atol=1e-2)


def test_a_joint_turn_cannot_augment() -> None:
    with pytest.raises(ValueError, match="shared_forward"):
        Sid.Config(shared_forward=True, augment=Choice("augment", "flip", cast(Any, Flip), None))


def test_the_fake_score_starts_from_the_teacher() -> None:
    _, state = ready()
    assert state.teacher is not None and state.teacher.network is not None
    for name, tensor in state.teacher.network.state_dict().items():
        assert torch.equal(tensor, state.networks["fake_score"].state_dict()[name])


def test_the_optimizer_settings_reach_the_fake_score() -> None:
    lr = {"lr": 1e-3, "warmup_kimg": 1.0, "schedule": "cosine", "decay_from": 0.5}
    optimizer = ready(betas=[0.0, 0.99], eps=1e-6, **cast(Any, lr))[1].settings["fake_score"]
    assert (optimizer.lr, optimizer.betas, optimizer.eps) == (1e-3, (0.0, 0.99), 1e-6)
    assert (optimizer.warmup_kimg, optimizer.schedule, optimizer.decay_from) == (1.0, "cosine", 0.5)
    assert optimizer.clip_value is None
    assert ready()[1].settings["fake_score"].lr == 1e-5


def test_the_hooks_are_the_ones_that_the_engine_asks() -> None:
    for method in (Sid(Sid.Config()), Sida(Sida.Config())):
        manager = pluggy.PluginManager("distillkit")
        manager.add_hookspecs(Hooks)
        manager.register(method)
        hooks = {hook.name for hook in manager.get_hookcallers(method) or []}
        assert hooks == {"setup", "critic_loss", "generator_loss"}
        manager.check_pending()
