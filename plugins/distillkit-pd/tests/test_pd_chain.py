"""Chains of students: where stages end, who teaches, what each stage leaves of a Gaussian's trajectories."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from distillkit_pd.chain import joined, moved
from torch import Tensor

from distillkit.api import UsageError
from distillkit.builtin.euler import Ddim
from distillkit.testing import toy_state, toy_step
from distillkit.train import snapshot
from distillkit.train.iterate import iterate
from distillkit.train.state import State

M, S = 0.3, 0.5
ENDS = 0.002, 80.0
CHAINS: dict[str, dict[str, Any]] = {"pd": {"start": 8}, "tract": {"schedule": [8, 4, 2, 1]}}


def gaussian(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
    """The denoiser of N(M, S^2)."""
    return (S**2 * x + sigma**2 * M) / (S**2 + sigma**2)


class Exact:
    """The student that a chain's first stages leave: its step is two of its teacher's, at the levels of a grid."""

    sigma_min, sigma_max = ENDS

    def __init__(self, teacher: Any, levels: Tensor) -> None:
        """`levels`: of the teacher's steps, rising from 0; the student's are every other one."""
        self.teacher, self.levels = teacher, levels

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        t = sigma.expand(len(x), 1, 1, 1)
        i = (self.levels - t).abs().argmin(-1).view_as(t)
        torch.testing.assert_close(self.levels[i], t)
        h, s = self.levels[i - 1], self.levels[i - 2]
        D = self.teacher(x, t)
        return joined(D, self.teacher(moved(x, D, t, h), h), t, h, s)


def chain(name: str, **keys: Any) -> tuple[Any, State]:
    state = toy_state(run={"precision": "fp64"}, generator_loss={"use": name, **CHAINS[name], **keys})
    return state.components["generator_loss"], state


def ends(student: Any, steps: int) -> Tensor:
    """What a student draws by so many steps from given noise."""
    sampler = Ddim(Ddim.Config(steps=steps, grid="cosine", sigma_min=ENDS[0], sigma_max=ENDS[1]))
    z = torch.linspace(-3, 3, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    return sampler.sample(cast(Any, SimpleNamespace(generator=student, seed=0)), z, None)


def test_two_steps_are_the_one_step_that_they_are_joined_to() -> None:
    draw = torch.Generator().manual_seed(0)
    x, D_t, D_r = (torch.randn(3, 2, 4, 4, generator=draw, dtype=torch.float64) for _ in range(3))
    t, r, s = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1, 1) for v in ((80, 2, 1), (9, 1, 0.5), (3, 0.1, 0)))
    two = moved(moved(x, D_t, t, r), D_r, r, s)
    torch.testing.assert_close(moved(x, joined(D_t, D_r, t, r, s), t, s), two)


def test_each_stage_of_a_gaussian_ends_where_its_teachers_steps_end_and_has_nothing_to_learn() -> None:
    """The fixed point in closed form: 8 exact steps of DDIM, then 4, 2 and 1 with the same ends."""
    loss, state = chain("pd")
    loss.sigma = loss.grid(*ENDS)
    student: Any = gaussian
    gaussian.sigma_min, gaussian.sigma_max = ENDS  # type: ignore[attr-defined]
    want, levels = ends(gaussian, 8), loss.sigma
    for k, steps in enumerate((4, 2, 1)):
        teacher, student = student, Exact(student, levels)
        levels = levels[::2]
        torch.testing.assert_close(ends(student, steps), want, rtol=1e-9, atol=1e-12)
        step = stepped(state, k)
        state.generator, loss.former = cast(Any, student), teacher
        assert loss.generator_loss(state, step, cast(Any, teacher)).max() < 1e-12
        wrong = cast(Any, lambda x, sigma, labels, now=student: now(x, sigma) + 0.01)
        state.generator = wrong
        assert loss.generator_loss(state, stepped(state, k), cast(Any, teacher)).min() > 5e-5


def stepped(state: State, stage: int) -> Any:
    """The first step of a stage, of images of its own."""
    state.nimg = -(-stage * state.total // 3)
    draw = torch.Generator().manual_seed(stage)
    return SimpleNamespace(
        real=M + S * torch.randn(64, 1, 1, 1, generator=draw, dtype=torch.float64), labels=None,
        rand=lambda *shape: torch.rand(64, *shape, generator=draw, dtype=torch.float64),
        randn_like=lambda x: torch.randn(x.shape, generator=draw, dtype=torch.float64),
    )  # fmt: skip


class Composed:
    """Where t's group ends, by all of the teacher's steps until there: TRACT's fixed point."""

    def __init__(self, levels: Tensor, group: int, heun: bool) -> None:
        self.levels, self.group, self.heun = levels, group, heun

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.stack([self.one(row, t) for row, t in zip(x, sigma.expand(len(x), 1, 1, 1), strict=True)])

    def one(self, x: Tensor, t: Tensor) -> Tensor:
        i = int((self.levels - t).abs().argmin())
        s = self.levels[(i - 1) // self.group * self.group]
        x_r, start = x, self.levels[i]
        while self.levels[i] > s:
            now, r = self.levels[i], self.levels[i - 1]
            D = gaussian(x_r, now)
            if self.heun and r > 0:
                d = (x_r - D) / now
                euler = x_r + (r - now) * d
                x_r = x_r + (r - now) * (d + (euler - gaussian(euler, r)) / r) / 2
            else:
                x_r = moved(x_r, D, now, r)
            i -= 1
        return (start * x_r - s * x) / (start - s)


@pytest.mark.parametrize(("form", "last"), [("vp", 1), ("vp", 2), ("edm", 1), ("edm", 2)])
def test_tract_has_nothing_to_learn_where_a_gaussians_steps_are_composed(form: str, last: int) -> None:
    levels = {"sigma_min": ENDS[0], "sigma_max": ENDS[1]}
    sample = {"use": "ddim", "steps": last, "grid": "cosine", **levels}
    keys = {"use": "tract", "schedule": [8, last], "form": form, "clamp": False, **levels}
    state = toy_state(run={"precision": "fp64"}, sample=sample, generator_loss=keys)
    loss = cast(Any, state.components["generator_loss"])
    loss.sigma = loss.grid(*ENDS)
    right: Any = Composed(loss.sigma, 8 // last, form == "edm")
    state.generator, loss.self_teacher = right, right
    assert loss.generator_loss(state, stepped(state, 0), cast(Any, gaussian)).max() < 1e-12
    state.generator = cast(Any, lambda x, sigma, labels: right(x, sigma) + 0.01)
    assert loss.generator_loss(state, stepped(state, 0), cast(Any, gaussian)).min() > 1e-5


@pytest.mark.parametrize("name", CHAINS)
def test_a_stages_teacher_is_what_the_average_was_when_the_one_before_ended(name: str) -> None:
    """10 iterations, 3 stages: the second begins with the fifth iteration, the third with the eighth."""
    loss, state = chain(name)
    asked: list[int] = []  # by iterations in which the recipe's teacher was
    real = state.teacher_score

    def noted(*given: Any) -> Tensor:
        asked.append(state.iteration)
        return real(*given)

    state.teacher_score = cast(Any, noted)
    ended, former = {}, loss.former
    for k in range(10):
        iterate(state)
        ended[k] = [p.clone() for p in state.average.parameters()]
        if k >= 3:
            want = ended[3] if k < 6 else ended[6]
            assert all(torch.equal(a, b) for a, b in zip(former.parameters(), want, strict=True))
    assert set(asked) == {0, 1, 2, 3}
    assert not all(torch.equal(a, b) for a, b in zip(ended[3], ended[6], strict=True))


@pytest.mark.parametrize("form", ["vp", "edm"])
def test_the_last_step_of_a_group_is_the_teachers_alone(form: str) -> None:
    """Whatever the self-teacher would say, also where the group ends at 0 and no network can be asked."""
    loss, state = chain("tract", schedule=[8, 2, 1], form=form, clamp=False)
    eighths = torch.arange(8, dtype=torch.float64) / 8
    group, point = torch.cartesian_prod(eighths, eighths).T  # which of two groups, which of its four points
    state.generator, taught = cast(Any, gaussian), []
    for wrong in (0.0, 1.0):
        loss.self_teacher = lambda x, sigma, labels, wrong=wrong: x + wrong
        step, draws = stepped(state, 0), iter((group, point))
        step.rand = lambda *shape, draws=draws: next(draws).view(-1, *shape)
        taught.append(loss.generator_loss(state, step, cast(Any, gaussian)).detach())
    assert torch.equal(taught[0] == taught[1], point >= 0.75)


@pytest.mark.parametrize("name", CHAINS)
def test_all_three_networks_are_told_the_images_labels(name: str) -> None:
    """The teacher twice, or once and the self-teacher, and the student."""
    loss, state = chain(name)
    asked: list[Tensor | None] = []

    def noted(net: Any) -> Any:
        return lambda x, sigma, labels: (asked.append(labels), net(x, sigma, labels))[1]

    state.generator = noted(state.generator)
    if name == "tract":
        loss.self_teacher = noted(loss.self_teacher)
    loss.generator_loss(state, step := toy_step(state), noted(state.teacher_score))
    assert step.labels is not None and len(asked) == 3
    assert all(labels is step.labels for labels in asked)


def test_the_self_teacher_keeps_mu_of_itself_in_each_iteration() -> None:
    loss, state = chain("tract", mu=0.9)
    follows = loss.self_teacher
    before = [p.clone() for p in follows.parameters()]
    iterate(state)
    for was, now, student in zip(before, follows.parameters(), cast(Any, state.generator).parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * was + 0.1 * student)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("at", [2, 4, 6])
def test_a_run_goes_on_within_a_stage_and_where_one_ends(name: str, at: int) -> None:
    (_, straight), (_, resumed) = (chain(name) for _ in range(2))
    for _ in range(at):
        iterate(straight)
    tensors, meta = snapshot.capture(straight)
    snapshot.restore(resumed, {key: t.clone() for key, t in tensors.items()}, meta)
    for _ in range(10 - at):
        iterate(straight)
        iterate(resumed)
    ours, theirs = (snapshot.capture(state)[0] for state in (straight, resumed))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"use": "pd", "start": 12}, "start"),
        ({"use": "pd", "start": 8, "end": 8}, "end"),
        ({"use": "tract", "schedule": [8, 3, 1]}, "schedule"),
        ({"use": "tract", "schedule": [8, 8, 1]}, "schedule"),
        ({"use": "pd", "start": 8, "end": 2}, "sample: 1 calls, but the last student of the chain takes 2 steps"),
        ({"use": "pd", "start": 4096}, "10 iterations are too few for 12 stages"),
        ({"use": "pd", "start": 8, "sigma_min": 90.0, "sigma_max": 80.0}, "no noise levels from 90 to 80"),
    ],
)
def test_chains_that_cannot_be_are_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        toy_state(generator_loss=keys)


@pytest.mark.parametrize(
    ("sample", "keys"),
    [
        ({"sigma_max": 80.0}, {}),  # the highest level is the student's own, and that is inf: the loss has its default
        ({}, {"sigma_max": 70.0}),
        ({"steps": 2}, {"end": 2, "sigma_min": 0.01}),
        ({"steps": 2, "grid": "rho"}, {"end": 2}),
    ],
)
def test_steps_between_levels_that_no_stage_has_are_refused(sample: dict[str, Any], keys: dict[str, Any]) -> None:
    ends = {"grid": "cosine", "sigma_min": 4.54e-5, "sigma_max": 22026.5}
    toy_state(sample={"use": "ddim", "steps": 1, **ends}, generator_loss={"use": "pd", "start": 4})
    with pytest.raises(UsageError, match=r"sample: steps from .* the same sigma_min and sigma_max"):
        toy_state(
            sample={"use": "ddim", "steps": 1, **ends, **sample}, generator_loss={"use": "pd", "start": 4, **keys}
        )


def test_listed_levels_are_those_of_the_last_student() -> None:
    """Of 4 steps on the cosine from 80: every second point, and none of few-step's usual ones."""
    keys = {"use": "pd", "start": 4, "end": 2, "sigma_max": 80.0, "sigma_min": 0.002}
    middle = math.tan((math.atan(80) + math.atan(0.002)) / 2)
    for use in ("ddim", "few-step"):
        toy_state(sample={"use": use, "sigmas": [80.0, middle]}, generator_loss=keys)
        for wrong in ([80.0, 2.0], [40.0, middle]):
            with pytest.raises(UsageError, match=r"sample\.sigmas: .* from \[80, 0\.98"):
                toy_state(sample={"use": use, "sigmas": wrong}, generator_loss=keys)
    with pytest.raises(UsageError, match="sample: steps from"):
        toy_state(sample={"use": "euler", "steps": 2, "sigma_max": 80.0}, generator_loss=keys)


def test_a_chain_without_a_teacher_is_refused() -> None:
    with pytest.raises(UsageError, match="needs a \\[teacher_score\\] table"):
        toy_state(
            teacher_score={"remove": True}, generator={"init": "scratch", "network": {"use": "mlp"}},
            generator_loss={"use": "pd"},
        )  # fmt: skip
