"""rCM's rollouts, matching loss, fake score, turns and times against its authors' numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
import torch
from distillkit_scm.levels import noise_share, shifted
from rcm_networks import CLOSE, FAR, ROLLOUT, Data, Flow, denoised, numbers, ready, told
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import Rollout, UsageError
from distillkit.testing import replayed, toy_state
from distillkit.testing.toys import toy_step
from distillkit.train.iterate import due


@pytest.fixture(scope="module")
def data() -> Data:
    return numbers()


def angles(t: Tensor) -> Tensor:
    return t.double().tan().view(-1, 1, 1, 1)


# Rollouts and the matching loss.


def rolled(data: Data, tag: str, monkeypatch: pytest.MonkeyPatch, turn: str, fixed: bool = False) -> Any:
    """The method in a turn of the recorded iteration: its images from the recorded draws, and the loss's own two."""
    iteration = int(tag.split("_it")[1]) if "_it" in tag else 1015
    sigmas = (FAR, *torch.tensor([1.5, 1.4, 1.0]).double().tan().tolist())
    loss, state = ready(iteration, fixed_levels=fixed, sigmas=sigmas)
    draws = [data[key] for key in sorted(data) if key.startswith(f"{tag}_draw")]
    *rest, u, n = draws
    z, rest = rest[0], rest[1:]
    steps = int(data[f"{tag}_n_student_calls"])
    times, noises = rest[: len(rest) - steps + 1], [z, *rest[len(rest) - steps + 1 :]]

    def rows(kind: str, seed: int, stream: str, first: int, n: int, shape: Any, device: Any = "cpu") -> Tensor:
        if kind == "rand":
            return times[int(stream[-1]) - 1].view(-1, 1, 1, 1)
        return noises[-1] if stream.endswith("/z") else noises[int(stream[-1])]

    monkeypatch.setattr(noise, "rows", rows)
    state.generator, loss.fake_score = cast(Any, Flow(data)), cast(Any, Flow(data, "f"))
    step = replayed(state, [u.view(-1, 1, 1, 1), n], turn=turn)
    step.n, step.labels = 4, data["condition"].double()
    step.trains_generator = turn == "generator"
    torch.testing.assert_close(step.x.detach(), data[f"{tag}_G_x0"].double(), **ROLLOUT)
    return loss, state, step


@pytest.mark.parametrize("tag", ["dmd_it1000", "dmd_it1005", "dmd_it1010", "dmd_it1015", "dmd_fixed"])
def test_images_and_the_matching_loss_are_the_authors(data: Data, monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    loss, state, step = rolled(data, tag, monkeypatch, "generator", tag == "dmd_fixed")
    value = loss.matching(step, cast(Any, Flow(data, "t").guided))
    torch.testing.assert_close(value.detach(), data[f"{tag}_loss"], **ROLLOUT)
    told(loss.fake_score, -1, data, x=f"{tag}_D_xt", time=f"{tag}_D_time", D=f"{tag}_x0_theta_fake")
    x_t, angle, _ = loss.fake_score.asked[-1]
    s = angles(angle)
    D_star = Flow(data, "t").guided(x_t * (1 + s**2).sqrt(), s, step.labels)
    torch.testing.assert_close(D_star.detach(), data[f"{tag}_x0_theta_teacher"].double(), **ROLLOUT)
    value.mean().backward()
    step.backward()  # through the last call alone
    for p, name in ((state.generator.A, "A"), (state.generator.B, "B")):
        torch.testing.assert_close(p.grad, data[f"{tag}_grad_{name}"].double(), **ROLLOUT)


@pytest.mark.parametrize("tag", ["critic_it1001", "critic_it1003"])
def test_the_fake_scores_loss_is_the_authors(data: Data, monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    loss, _, step = rolled(data, tag, monkeypatch, "fake_score")
    value = loss.critic_loss(step)
    torch.testing.assert_close(value, data[f"{tag}_loss"], **ROLLOUT)
    told(loss.fake_score, -1, data, x=f"{tag}_D_xt", time=f"{tag}_D_time", D=f"{tag}_x0_theta_fake")
    found = torch.autograd.grad(value.mean(), (loss.fake_score.A, loss.fake_score.B))
    for one, name in zip(found, "AB", strict=True):
        torch.testing.assert_close(one, data[f"{tag}_grad_{name}"].double(), **ROLLOUT)


def test_the_matching_loss_has_no_gradient_where_both_scores_are_those_of_what_is_generated() -> None:
    loss, state = ready(S=0.5, sigmas=(80.0,))
    for v, still in ((0.4, True), (0.5, False)):
        loss.fake_score = fake = cast(Any, nn.Module())
        fake.forward = lambda x, sigma, labels, v=v: denoised(x, sigma, v=v)
        x = torch.randn(16, 3, 8, 8).double().requires_grad_()
        step = replayed(state, [torch.rand(16, 1, 1, 1), torch.randn(16, 3, 8, 8)], x=x)
        loss.matching(step, cast(Any, denoised)).sum().backward()
        assert x.grad is not None and (float(x.grad.abs().max()) == 0) == still


# Turns and times.


def test_turns_and_numbers_of_calls_are_the_authors(data: Data) -> None:
    loss, state = ready()
    for iteration, student, fake, of_student in data["effective_iterations"].tolist():
        state.iteration, state.nimg = iteration, 4 * iteration
        taken = [turn.name for turn in state.turns if due(state, turn)]
        assert taken == [("warmup" if iteration < 1000 else "generator") if of_student else "fake_score"]
        step = toy_step(state, turn=taken[0])
        assert loss.calls(state, step) == (student if of_student else fake) % 4 + 1


def test_times_are_the_authors(data: Data) -> None:
    loss, _ = ready()
    u = data["dmd_it1000_draw01_rand"].double().view(-1, 1, 1, 1)
    torch.testing.assert_close(loss.levels(u), angles(data["dmd_it1000_D_time"]), **CLOSE)
    assert loss.levels(torch.zeros(1)).item() > 0
    t = data["trig_t"]
    sin2, cos2 = noise_share(t.tan(), 1.0)
    total = sin2.sqrt() + cos2.sqrt()
    torch.testing.assert_close(t.tan() / (1 + t.tan()), data["trig_to_rf"], **CLOSE)
    at = shifted(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), 5.0)
    torch.testing.assert_close(at / (1 + at), data["shift5"], **CLOSE)
    even = shifted(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), 1.0)
    torch.testing.assert_close(even.atan(), data["rf_to_trig"][:3], **CLOSE)
    torch.testing.assert_close(1 / total, data["scaling_c_in"], **CLOSE)
    torch.testing.assert_close(1 / total, data["scaling_c_skip"], **CLOSE)
    torch.testing.assert_close(-sin2.sqrt() / total, data["scaling_c_out"], **CLOSE)
    torch.testing.assert_close(1000 * sin2.sqrt() / total, data["scaling_c_noise"], **CLOSE)


def test_drawn_levels_never_rise_and_are_those_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, state = ready(1015, sigmas=(2.0,))
    asked: list[Tensor] = []
    network = state.generator

    class Watched(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor, labels: Any = None) -> Tensor:
            asked.append(sigma)
            return cast(Tensor, cast(Any, network)(x, sigma, labels))

    state.generator = cast(Any, Watched())
    x = toy_step(state, turn="generator").x
    assert len(asked) == 4 and all(bool((b <= a).all()) for a, b in pairwise(asked))
    assert asked[0].unique().item() == 2.0 and len(asked[-1].unique()) > 1
    part = toy_step(state, turn="generator", first=2, n=2).x
    torch.testing.assert_close(part, x[2:], rtol=1e-12, atol=1e-12)
    assert isinstance(loss.rollout, Rollout)


def test_a_sampler_without_the_steps_is_refused() -> None:
    with pytest.raises(UsageError, match="4 or more sigmas"):
        ready(fixed_levels=True, sigmas=(80.0,))
    with pytest.raises(UsageError, match="'skip' 48 must be below 'N' 48"):
        ready(consistency="discrete", skip=48)
    loss: Any = toy_state(generator_loss={"use": "rcm"}, sample={"use": "one-step", "sigma_init": 2.5}).components
    assert loss["generator_loss"].rollout.sigmas == (2.5,)


def test_the_student_has_both_losses_by_their_weights_and_the_first_alone_in_the_warm_up() -> None:
    loss, state = ready(scm_weight=3.0, dmd_weight=0.25)
    cast(Any, loss).consistency = lambda *given: torch.full((4,), 2.0)
    cast(Any, loss).matching = lambda *given: torch.full((4,), 8.0)
    found = [
        loss.generator_loss(state, toy_step(state, turn=turn), cast(Any, denoised)) for turn in ("generator", "warmup")
    ]
    assert [one.tolist() for one in found] == [[8.0] * 4, [6.0] * 4]


@pytest.mark.parametrize("S", [0.5, 2.0])
def test_levels_are_those_of_the_angle_times_sigma_data(S: float) -> None:
    """Half way on the straight path, shift 1: an angle of 45 degrees, at which noise is as large as images."""
    loss, _ = ready(S=S, shift=1.0)
    u = torch.tensor([0.5, 0.75])
    assert loss.levels(u).tolist() == [S, 3 * S]
    loss, _ = ready(S=S, shift=5.0)
    assert loss.levels(u).tolist() == [5 * S, 15 * S]
