"""CTM against the reference's numbers: its jumps, losses and gradients, with recorded draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_ctm.config import CtmConfig
from distillkit_ctm.ctm import Ctm, G
from distillkit_ctm.draw import draw, steps
from distillkit_ctm.gan import CtmGan
from torch import Tensor, nn

from distillkit.testing import lognormal_draw, replayed, toy_state
from distillkit.train.step import Step

CLOSE = {"rtol": 1e-4, "atol": 1e-6}
Data = dict[str, Tensor]


@pytest.fixture(scope="module")
def data() -> Data:
    with np.load(Path(__file__).parent / "data" / "ctm_io.npz") as data:
        return {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}


class Stub(nn.Module):
    """F = A sin(c_in x) + B (1 + t'/1000 + s'/2000) in EDM's form, t' = 250 ln t; the teacher's is without s'."""

    sigma_min, sigma_max, second_time = 0.0, float("inf"), True

    def __init__(self, data: Data, which: str, boundary: float = 0.0) -> None:
        super().__init__()
        self.which, self.boundary = which, boundary
        self.A, self.B = (nn.Parameter(data[name + which].clone()) for name in "AB")

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None, *, r: Tensor | None = None) -> Tensor:
        norm, above = (t**2 + 0.25).sqrt(), t - self.boundary
        waves = 1 + t.log() / 4 + (0 if r is None else r.log() / 8)
        return 0.25 / (above**2 + 0.25) * x + above * 0.5 / norm * (self.A * (x / norm).sin() + self.B * waves)


class Variance(Stub):
    """The same with the reference's other outer form, c x + (1 - s/t) g, written as a denoiser of Eq. (a)."""

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None, *, r: Tensor | None = None) -> Tensor:
        assert r is not None
        c = (((r - 0.002) ** 2 + 0.25) / ((t - 0.002) ** 2 + 0.25)).sqrt()
        return super().forward(x, t, labels, r=r) + torch.where(r < t, (c - r / t) / (1 - r / t), 0) * x


def lpips(x: Tensor) -> Tensor:
    """The reference's stand-in: squared distances of these are means over pixels of images of 224, in [0,1]."""
    large = nn.functional.interpolate((x + 1) / 2, size=224, mode="bilinear").flatten(1)
    return large / large.shape[1] ** 0.5


class Case:
    """The reference's step of one tag, with our method in it."""

    def __init__(self, data: Data, tag: str, stub: type[Stub] = Stub, method: type[Ctm] = Ctm, **keys: Any) -> None:
        def of(name: str) -> Tensor:
            return data[f"{tag}_{name}"]

        self.h = int(of("np_draw0")) if of("np_draw0").numel() == 1 else int(keys.pop("h"))
        keys = {"dsm": 0.0, "steps": "fixed", "h": self.h, **keys}
        self.loss = method(method.Config(**keys))
        self.student, self.teacher = stub(data, ""), Stub(data, "t").requires_grad_(False)
        self.loss.target = stub(data, "e").requires_grad_(False)  # type: ignore[assignment]
        self.loss.phi, self.loss.config = lpips, self._lpips(method, keys)  # type: ignore[assignment]
        self.loss.layers = [self.student.A]
        self.told: dict[str, Tensor] = {}
        self.state: Any = SimpleNamespace(generator=self.student, seed=0, record=self.told.__setitem__)
        self.real, last = data["real"], 17
        self.state.batch = self.state.micro_batch = len(self.real)
        i, j = of("t_index").float(), of("s_index").float()
        draws = [(i + 0.5) / (last - self.h + 1)]
        draws += [(j - i - self.h + 0.5) / (last - i - self.h + 1)] if keys.get("s") != "smallest" else []
        self.draws = [*(u.view(-1, 1, 1, 1) for u in draws), data["noise"]]

    @staticmethod
    def _lpips(method: type[Ctm], keys: dict[str, Any]) -> CtmConfig:
        made = method.Config(**keys)
        object.__setattr__(made, "distance", "lpips")  # its features are the stand-in, which no config names
        return made

    def step(self, *more: Tensor) -> Step:
        state = toy_state(run={"batch": len(self.real)}, dataset={"resolution": 8, "channels": 3, "label_dim": 0})
        return replayed(state, [*self.draws, *more], real=self.real)

    def total(self, *more: Tensor) -> Tensor:
        total = self.loss.generator_loss(self.state, self.step(*more), self.teacher).mean()
        total.backward()
        return total


class Logit:
    """The reference's stand-in for a discriminator: <x, W> + 0.1."""

    def __init__(self, data: Data) -> None:
        self.W = nn.Parameter(data["W"].clone())

    def __call__(self, x: Tensor, step: Step) -> list[Tensor]:
        return [(x * self.W).flatten(1).sum(1, keepdim=True) + 0.1]


def with_gan(data: Data, tag: str) -> Case:
    case = Case(data, tag, method=CtmGan, dsm=1.0)
    case.loss.logits = Logit(data)  # type: ignore[attr-defined]
    return case


def denoised(data: Data, tag: str) -> list[Tensor]:
    """The draws of (e), each of the whole batch; only a half is looked at."""
    normal, u, n = (data[f"{tag}_draw0{k}"] for k in ("1_randn", "2_rand", "3_randn_like"))
    return [torch.cat([normal, 0 * u]).view(-1, 1, 1, 1), torch.cat([0 * normal, u]).view(-1, 1, 1, 1), n]


CASES: dict[str, Callable[[Data], Case]] = {
    "ctm": lambda data: Case(data, "ctm"),
    "ctm_heun3": lambda data: Case(data, "ctm_heun3", h=3),
    "ctm_weighted": lambda data: Case(data, "ctm_weighted", weight="jump"),
    "ctm_outer_model": lambda data: Case(data, "ctm_outer_model", outer="student"),
    "ctm_variance": lambda data: Case(data, "ctm_variance", Variance),
    "ctm_selflearn": lambda data: Case(data, "ctm_selflearn", solver="self"),
    "ctm_smallest_s": lambda data: Case(data, "ctm_smallest_s", s="smallest"),
    "ctm_dsm": lambda data: Case(data, "ctm_dsm", dsm=1.0),
    "ctm_gan": lambda data: with_gan(data, "ctm_gan"),
}


@pytest.mark.parametrize("tag", CASES)
def test_the_loss_and_its_gradients_are_the_references(data: Data, tag: str) -> None:
    case = CASES[tag](data)
    total = case.total(*(denoised(data, tag) if case.loss.config.dsm else []))
    torch.testing.assert_close(total, data[f"{tag}_total"].float(), **CLOSE)
    torch.testing.assert_close(case.student.A.grad, data[f"{tag}_grad_A"], **CLOSE)
    torch.testing.assert_close(case.student.B.grad, data[f"{tag}_grad_B"], **CLOSE)
    torch.testing.assert_close(case.told["loss/ctm"], data[f"{tag}_consistency_loss"].mean(), **CLOSE)
    for name, key in {"dsm": "denoising_loss", "gan": "d_loss"}.items():
        if f"weight/{name}" in case.told:
            found = case.told[f"loss/{name}"] * case.told[f"weight/{name}"]
            torch.testing.assert_close(found, data[f"{tag}_{key}"].mean(), **CLOSE)


def test_the_denoising_loss_counts_by_its_factor(data: Data) -> None:
    none, part, whole = (
        Case(data, "ctm_dsm", dsm=factor).total(*(denoised(data, "ctm_dsm") if factor else [])).detach()
        for factor in (0.0, 0.3, 1.0)
    )
    torch.testing.assert_close(part - none, 0.3 * (whole - none), **CLOSE)


@pytest.mark.parametrize("tag", CASES)
def test_noise_levels_and_the_two_ways_are_the_references(data: Data, tag: str) -> None:
    case, asked = CASES[tag](data), []

    def distance(name: str, a: Tensor, b: Tensor, c: float, phi: Any) -> Tensor:
        asked.append((a, b))
        return (a - b).square().flatten(1).mean(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distillkit_ctm.ctm.distance", distance)
        at = draw(case.loss.config, case.state, case.step())
        case.loss.consistency(case.student, case.step(), at, case.teacher)
    for name, found in {"t": at.t, "t_dt": at.u, "s": at.s}.items():
        torch.testing.assert_close(found.flatten(), data[f"{tag}_{name}"], **CLOSE)
    torch.testing.assert_close(case.loss.down(at, case.teacher, None), data[f"{tag}_x_t_dt"], **CLOSE)
    torch.testing.assert_close(asked[0][0], data[f"{tag}_estimate"], **CLOSE)
    torch.testing.assert_close(asked[0][1], data[f"{tag}_target"], **CLOSE)


def test_the_discriminators_loss_is_the_references(data: Data) -> None:
    case = with_gan(data, "disc")
    seen: list[Tensor] = []
    case.loss.fake = lambda *given: seen.append(CtmGan.fake(case.loss, *given)) or seen[0]  # type: ignore
    total = case.loss.critic_loss(case.state, case.step()).mean()  # type: ignore[attr-defined]
    torch.testing.assert_close(total, data["disc_total"], **CLOSE)
    total.backward()
    assert case.student.A.grad is None and case.loss.logits.W.grad.any()  # type: ignore[attr-defined]


def test_the_estimate_may_be_what_the_discriminator_sees(data: Data) -> None:
    case = Case(data, "disc", method=CtmGan, fake="estimate")
    at = draw(case.loss.config, case.state, case.step())
    found = case.loss.fake(case.student, at, None)  # type: ignore[attr-defined]
    torch.testing.assert_close(found, data["disc_estimate"], **CLOSE)


def test_a_jump_and_its_denoiser_are_the_references(data: Data) -> None:
    t, s = (data[f"G_{name}"].view(-1, 1, 1, 1) for name in "ts")
    torch.testing.assert_close(G(Stub(data, ""), data["G_x"], t, s, None), data["G"], **CLOSE)
    torch.testing.assert_close(Stub(data, "")(data["G_x"], t, r=s), data["G_denoised"], **CLOSE)
    torch.testing.assert_close(Stub(data, "")(data["G_x"], t), data["G_teacher_denoised"], **CLOSE)
    torch.testing.assert_close(CtmConfig().grid(torch.arange(18.0)), data["grid18"], **CLOSE)


def test_without_jumps_to_s_the_references_loss_is_that_of_cd(data: Data) -> None:
    """Its plain consistency model: the component `cd` with mu = 0, a network that is the identity at 0.002."""
    cd: Any = toy_state(generator_loss={"use": "cd"}).components["generator_loss"]
    object.__setattr__(cd.config, "distance", "lpips")
    cd.phi, student, teacher = lpips, Stub(data, "", 0.002), Stub(data, "t").requires_grad_(False)
    u = (data["cm_t_index"].view(-1, 1, 1, 1) + 0.5) / 17
    state = toy_state(run={"batch": len(u)}, dataset={"resolution": 8, "channels": 3, "label_dim": 0})
    step = replayed(state, [u.float(), data["noise"]], real=data["real"])
    losses = cd.generator_loss(SimpleNamespace(generator=student), step, teacher)
    total = losses.mean()
    total.backward()
    torch.testing.assert_close(losses, data["cm_consistency_loss"], rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(total, data["cm_total"].float(), rtol=1e-4, atol=1e-9)
    for name, p in student.named_parameters():
        torch.testing.assert_close(p.grad, data[f"cm_grad_{name}"], rtol=1e-4, atol=1e-9)
    t, u = (data[f"cm_{name}"].view(-1, 1, 1, 1) for name in ("t", "t_dt"))
    x_t = data["real"] + t * data["noise"]
    x_u = cd.step_down(x_t, t, u, step, teacher)
    torch.testing.assert_close(x_u, data["cm_x_t_dt"], **CLOSE)
    for x, sigma, name in ((x_t, t, "estimate"), (x_u, u, "target")):
        torch.testing.assert_close(student(x, sigma).detach(), data[f"cm_{name}"], **CLOSE)


def test_longer_ways_are_drawn_more_often_and_h_is_the_iterations(data: Data) -> None:
    c, step = CtmConfig(N=8, h=4), SimpleNamespace(turn="generator", nimg=0)
    found = [steps(c, 3, SimpleNamespace(turn="generator", nimg=k)) for k in range(4000)]  # type: ignore[arg-type]
    assert steps(c, 3, step) == found[0] and min(found) == 1  # type: ignore[arg-type]
    share = np.bincount(found, minlength=5)[1:] / len(found)
    assert share == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.03)
    assert {steps(CtmConfig(N=8, h=4, steps="fixed"), 3, step)} == {4}  # type: ignore[arg-type]


def test_sigmas_of_denoising_are_of_two_halves(data: Data) -> None:
    case, asked = Case(data, "ctm_dsm", dsm=1.0), []

    def g(x: Tensor, sigma: Tensor, labels: Any, r: Tensor) -> Tensor:
        asked.append((x, sigma, r))
        return x

    real, n = data["real"], data["ctm_dsm_draw03_randn_like"]
    step = replayed(case.step().state, denoised(data, "ctm_dsm"), real=real)
    case.loss.denoising(g, case.state, step)
    ((x, sigma, r),) = asked
    assert r is sigma
    half = len(real) // 2
    torch.testing.assert_close(lognormal_draw(sigma[:half], -1.2, 1.2).flatten(), data["ctm_dsm_draw01_randn"], **CLOSE)
    assert (sigma[half:] > CtmConfig().grid(torch.tensor(0.7 * 17))).all()
    torch.testing.assert_close(x, real + sigma * n)


@pytest.mark.parametrize(("micro", "normal"), [(None, "11110000"), (4, "11001100"), (1, "10101010")])
def test_each_pass_has_both_halves(micro: int | None, normal: str) -> None:
    """For its denoising loss is weighed as a whole, within a pass."""
    run = {"batch": 8} if micro is None else {"batch": 8, "micro_batch": micro}
    state, found = toy_state(run=run, generator_loss={"use": "ctm", "N": 4, "h": 2, "P_mean": -50.0}), ""
    loss: Any = state.components["generator_loss"]

    def g(x: Tensor, sigma: Tensor, labels: Any, r: Tensor) -> Tensor:
        nonlocal found
        found += "".join(str(int(one < 1e-6)) for one in sigma.flatten())
        return x

    for first in range(0, 8, micro or 8):
        loss.denoising(g, state, Step(state, "generator", first, micro or 8, 8))
    assert found == normal


class Noting(Stub):
    """A stub whose calls each draw a mask."""

    def forward(self, *given: Any, **named: Any) -> Tensor:
        self.masks = [*getattr(self, "masks", []), torch.rand(3)]
        return super().forward(*given, **named)


def test_both_ways_have_the_same_masks_of_dropout(data: Data) -> None:
    case = Case(data, "ctm", Noting)
    case.total()
    first, second = case.student.masks
    assert torch.equal(first, second)  # type: ignore[arg-type]
