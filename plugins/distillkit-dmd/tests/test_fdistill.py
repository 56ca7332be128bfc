"""f-distill and LADD against FastGen's numbers, and what the divergence's own formula says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_dmd.fdistill import FDistill, H
from torch import Tensor, nn

from distillkit.api import UsageError
from distillkit.noise import rho_grid
from distillkit.testing import replayed, toy_state
from distillkit.train.state import State

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}
IMAGES = {"resolution": 8, "channels": 3, "label_dim": 0}
TEACHER = {"network": {"use": "mlp", "width": 8, "depth": 1}}


@pytest.fixture(scope="module")
def io() -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "data" / "fdistill_io.npz") as data:
        return {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}


class Stub(nn.Module):
    """A x + B (1 + ln sigma / 10) + c / 20, of a number c of each image."""

    def __init__(self, A: Tensor, B: Tensor, c: Tensor) -> None:
        super().__init__()
        self.A, self.B, self.c = nn.Parameter(A.clone()), nn.Parameter(B.clone()), c.view(-1, 1, 1, 1)
        self.asked: dict[str, Tensor] = {}

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        D = self.A * x + self.B * (1 + 0.1 * sigma.log()) + 0.05 * self.c
        self.asked = {"x_t": x.detach(), "t": sigma.flatten(), "D_fake": D.detach()}
        return D


class Heads(nn.Module):
    """Logits <x, W_k> + 0.1 of features that are the noisy image; they are kept."""

    def __init__(self, W: Tensor) -> None:
        super().__init__()
        self.W = nn.Parameter(W.clone())
        self.seen: list[Tensor] = []

    def encoder_features(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> list[Tensor]:
        return [x]

    def forward(self, features: list[Tensor]) -> Tensor:
        self.seen.append(torch.einsum("nchw,kchw->nk", features[0], self.W) + 0.1)
        return self.seen[-1]


def given(io: dict[str, Tensor], use: str, **keys: Any) -> tuple[Any, State, Any]:
    """The method with the recorded networks, its state, and the teacher."""
    state = toy_state(dataset=IMAGES, teacher_score=TEACHER, generator_loss={"use": use, **keys})
    method: Any = state.components["generator_loss"]
    method.fake_score = Stub(io["Af"], io["Bf"], io["condition"])
    method.classifier = method.features = Heads(io["W"])
    return method, state, Stub(io["At"], io["Bt"], io["condition"]).requires_grad_(False)


def guided(io: dict[str, Tensor], scale: float) -> Any:
    asked, nothing = (Stub(io["At"], io["Bt"], io[f"{c}condition"]).requires_grad_(False) for c in ("", "neg_"))
    return lambda x, sigma, labels: (D := asked(x, sigma)) + (scale - 1) * (D - nothing(x, sigma))


def draws(io: dict[str, Tensor], tag: str) -> list[Tensor]:
    """Those after the student's input, as the method makes them: of t in 2 ... 998 the uniform draw behind it."""
    names = sorted(name for name in io if name.startswith(f"{tag}_draw") and "draw00" not in name)
    return [((io[name] - 1.5) / 997).view(-1, 1, 1, 1) if name.endswith("randint") else io[name] for name in names]


def student_turn(
    io: dict[str, Tensor], tag: str, use: str, teacher: Any = None, noise: str = "", e: Tensor | None = None,
    **keys: Any,
) -> Any:  # fmt: skip
    """The method, after its loss and the gradients at x, and by them at the student's stub, were compared."""
    method, state, unguided = given(io, use, **keys)
    if e is not None:
        method.ratios.e = e.clone()
    noise = noise or tag
    kept: list[Tensor] = []
    if use == "f-distill":
        weight = method.weight

        def keeping(*given: Any) -> Tensor:
            kept.append(weight(*given))
            return kept[-1]

        method.weight = keeping
    x = io[f"{noise}_x"].clone().requires_grad_()
    step = replayed(state, draws(io, noise), x)
    hooks = {} if use == "ladd" else {"state": state, "teacher_score": teacher or unguided}
    loss = method.generator_loss(step=step, **hooks)
    (loss.sum() / 4).backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, io[f"{tag}_grad_x"], **CLOSE)
    of_A = (x.grad * io[f"{noise}_student_input"]).sum(0)
    torch.testing.assert_close(of_A, io[f"{tag}_grad_Ag"].to(of_A), **CLOSE)
    torch.testing.assert_close(loss.mean(), io[f"{tag}_total_loss"], **CLOSE)
    found = {"grad_Bg": (x.grad * (1 + 0.1 * io[f"{noise}_t_student"].log().view(-1, 1, 1, 1))).sum(0)}
    if use != "ladd":  # whose loss is its GAN's
        fake, gan = method.fake_score.asked, state.records.means()["loss/adversarial"]
        gan = 0.0 if keys.get("gan_weight") == 0 else gan
        matching = torch.tensor(float(loss.detach().mean()) - 1e-3 * gan)
        found |= {**fake, "gan_loss_gen": torch.tensor(gan), "vsd_loss": matching, "f_distill_loss": matching}
        found["D_teacher"] = unguided(fake["x_t"], fake["t"].view(-1, 1, 1, 1))
    for name in found.keys() & {key.removeprefix(f"{tag}_") for key in io}:
        torch.testing.assert_close(found[name].to(io[f"{tag}_{name}"]), io[f"{tag}_{name}"], **CLOSE)
    assert all(p.grad is None for net in (method.fake_score, unguided) for p in net.parameters())
    return method, kept


@pytest.mark.parametrize("form", ["plain", "norm"])
@pytest.mark.parametrize("f", [name for name in H if name != "rkl"])
def test_the_students_turn_is_the_references(io: dict[str, Tensor], f: str, form: str) -> None:
    tag, e = f"fd_{f}_{form}", io.get(f"fd_{f}_{form}_bins_before")
    teacher = guided(io, 1.5) if tag == "fd_jf_norm" else None
    keys: dict[str, Any] = {"f": f, "bins": 0 if e is None else 10, "rate": 0.5}
    method, kept = student_turn(io, tag, "f-distill", teacher, f"fd_kl_{form}", e, **keys)
    torch.testing.assert_close(method.classifier.seen[0], io[f"{tag}_logits"], **CLOSE)
    torch.testing.assert_close(kept[0], io[f"{tag}_h"], **CLOSE)
    for name, one in {"avg": kept[0].mean(), "min": kept[0].min(), "max": kept[0].max()}.items():
        torch.testing.assert_close(one, io[f"{tag}_{name}_h"].to(one), **CLOSE)
    if e is not None:
        torch.testing.assert_close(method.ratios.e, io[f"{tag}_bins_after"], **CLOSE)


@pytest.mark.parametrize(("tag", "scale", "gan"), [("dmd2", 1, 1e-3), ("dmd2_cfg", 2, 1e-3), ("dmd2_nogan", 1, 0)])
def test_reverse_kl_is_fastgens_dmd2(io: dict[str, Tensor], tag: str, scale: int, gan: float) -> None:
    student_turn(io, tag, "f-distill", guided(io, scale), f="rkl", gan_weight=gan, bins=0)


FASTGEN: dict[str, Any] = {
    "update": "alternate", "features": "teacher", "fake_weight": "none", "T_min": 0.002, "T_max": 0.998,
    "critic_noise": "matching", "gen_cls_loss_weight": 1e-3, "guidance_cls_loss_weight": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(("tag", "scale"), [("dmd2", 1), ("dmd2_cfg", 2)])
def test_so_is_dmd2_by_its_keys(io: dict[str, Tensor], tag: str, scale: int) -> None:
    student_turn(io, tag, "dmd2", guided(io, scale), **FASTGEN)


def test_the_turn_after_four_steps_input_is_the_same_loss(io: dict[str, Tensor]) -> None:
    there = {"four_draw01_randint": io["four_draw02_randint"], "four_draw02_randn_like": io["four_draw03_randn_like"]}
    kept = {name: x for name, x in io.items() if not name.startswith("four_draw")}
    student_turn({**kept, **there}, "four", "f-distill", f="rkl", bins=0)


def test_ladds_student_is_the_references(io: dict[str, Tensor]) -> None:
    student_turn(io, "ladd", "ladd")


CRITICS: dict[str, dict[str, Any]] = {
    "dmd2_critic": {}, "dmd2_critic_same": {"same_noise": True}, "dmd2_critic_eps": {"fake_weight": "noise"},
    "dmd2_critic_r1": {"r1_weight": 100.0}, "ladd_critic": {},
}  # fmt: skip


@pytest.mark.parametrize("tag", CRITICS)
def test_the_critics_turn_is_the_references(io: dict[str, Tensor], tag: str) -> None:
    use, drawn = "ladd" if "ladd" in tag else "f-distill", draws(io, tag)
    method, state, _ = given(io, use, **CRITICS[tag])
    if "r1" in tag:  # theirs compares y_s with y + alpha n': what we would have to draw to do so
        drawn[4] = drawn[4] - rho_grid(1 - (drawn[2] * 997 + 1.5).round() / 999) * drawn[3] / 0.1
    step = replayed(state, drawn, io[f"{tag}_x"], io["real"], method.turns("", ())[1].name)
    loss = method.critic_loss(state=state, step=step)
    (loss.sum() / 4).backward()
    torch.testing.assert_close(loss.mean(), io[f"{tag}_total_loss"], **CLOSE)
    if use == "f-distill":
        gan = torch.tensor(state.records.means()["loss/classifier"])
        shown = io[f"{tag}_gan_loss_disc"] + 100 * io.get(f"{tag}_gan_loss_ar1", 0)
        torch.testing.assert_close(gan, shown, **CLOSE)
        torch.testing.assert_close(loss.mean() - gan, io[f"{tag}_fake_score_loss"], rtol=1e-4, atol=1e-7 * float(gan))
    # Its terms, as large as sigma, cancel in float32.
    torch.testing.assert_close(method.classifier.W.grad, io[f"{tag}_grad_W"], rtol=1e-4, atol=3e-5)
    for name in "AB" if use == "f-distill" else "":
        torch.testing.assert_close(getattr(method.fake_score, name).grad, io[f"{tag}_grad_{name}f"], **CLOSE)


F = {  # of D_f(p || q) = E_q f(p / q)
    "kl": lambda r: r * r.log(),
    "rkl": lambda r: -r.log(),
    "js": lambda r: r * r.log() - (r + 1) * ((r + 1) / 2).log(),
    "sf": lambda r: (r + 1) * ((r + 1) / (2 * r)).log(),
    "sh": lambda r: 4 * (1 - r.sqrt()),
    "neyman": lambda r: (1 - r) ** 2 / (2 * r),
    "jf": lambda r: (r - 1) * r.log(),
}


@pytest.mark.parametrize("f", H)
def test_the_weighted_difference_of_scores_is_the_divergences_gradient(f: str) -> None:
    """(e) on noisy Gaussians in closed form: real ones N(0, 1), generated ones N(m, s^2), by quadrature."""
    x = torch.linspace(-16, 16, 8001, dtype=torch.float64)
    m, s = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.4, 0.9))
    p, q = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(m, s)
    r = (p.log_prob(x) - q.log_prob(x)).exp()
    D = torch.trapezoid(q.log_prob(x).exp() * F[f](r), x)
    wanted = torch.autograd.grad(D, [m, s])
    with torch.no_grad():
        pull = q.log_prob(x).exp() * H[f](r) * (-(x - m) / s**2 + x)  # h (s_fake - s_real), of x = m + s z
        found = torch.trapezoid(pull, x), torch.trapezoid(pull * (x - m) / s, x)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


H_OF_1 = {"kl": 1.0, "rkl": 1.0, "js": 0.5, "sf": 0.5, "sh": 1.0, "neyman": 1.0, "jf": 2.0}


@pytest.mark.parametrize("f", H)
def test_where_the_discriminator_knows_nothing_the_gradient_is_dmds(io: dict[str, Tensor], f: str) -> None:
    """r = 1: h is the same for all images, h(1), and dividing by its mean leaves DMD's gradient."""
    blind = {**io, "W": torch.zeros_like(io["W"])}
    grads = []
    assert float(H[f](torch.ones(()))) == H_OF_1[f]
    for name in (f, "rkl"):
        method, state, teacher = given(blind, "f-distill", f=name)
        x = io["dmd2_x"].clone().requires_grad_()
        step = replayed(state, draws(io, "dmd2"), x)
        method.generator_loss(state=state, step=step, teacher_score=teacher).sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-9)


# What is refused.


@pytest.mark.parametrize("use", ["ladd", "f-distill"])
def test_a_teacher_without_features_is_refused(use: str) -> None:
    points: dict[str, Any] = {"teacher_score": {"use": "gaussian-mixture"}, "dataset": {"use": "gaussian-mixture"}}
    scratch = {"init": "scratch", **TEACHER}
    with pytest.raises(UsageError, match="a teacher in closed form has none"):
        toy_state(generator_loss={"use": use}, generator=scratch, **points)
    with pytest.raises(UsageError, match="taps"):
        toy_state(generator_loss={"use": use, "taps": [5]}, teacher_score=TEACHER)


def test_the_ratios_bounds_are_in_order() -> None:
    with pytest.raises(ValueError, match="ratio_upper"):
        FDistill.Config(ratio_lower=2.0, ratio_upper=1.0)


def test_r1_moves_the_noisy_image(io: dict[str, Tensor]) -> None:
    """The mended penalty is small where logits are flat, whatever the noise level: alpha^2 |W|^2 here."""
    method, state, _ = given(io, "ladd", r1_weight=1.0)
    plain, _, _ = given(io, "ladd")
    drawn = draws(io, "dmd2_critic_r1")
    losses = [
        one.critic_loss(state=state, step=replayed(state, drawn[:count], io["dmd2_critic_r1_x"], io["real"]))
        for one, count in ((method, 5), (plain, 4))
    ]
    wanted = (0.1 * torch.einsum("nchw,kchw->nk", drawn[4], io["W"])).square().mean(1)
    torch.testing.assert_close(losses[0] - losses[1], wanted, rtol=1e-3, atol=1e-4)
