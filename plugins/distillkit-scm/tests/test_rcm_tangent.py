"""rCM's tangent and its consistency loss, in all forms, against its authors' numbers and in closed form."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from distillkit_scm.tangent import tangent
from rcm_networks import JVP, Data, Flow, Map, denoised, numbers, ready, told
from torch import Tensor

from distillkit.testing import replayed


@pytest.fixture(scope="module")
def data() -> Data:
    return numbers()


FORMS: dict[str, dict[str, Any]] = {
    "scm_it0": {}, "scm_it300": {}, "scm_it5000": {}, "scm_noguid": {},
    "scm_fd1": {"consistency": "semi-continuous"}, "scm_fd2": {"consistency": "difference", "h": 0.01},
    "dcm": {"consistency": "discrete"}, "dcm_skip3": {"consistency": "discrete", "skip": 3},
}  # fmt: skip


@pytest.mark.parametrize("tag", FORMS)
def test_the_consistency_loss_and_its_gradients_are_the_authors(data: Data, tag: str) -> None:
    loss, state = ready(int(tag[6:]) if "_it" in tag else 5000, **FORMS[tag])
    student, teacher = Flow(data), Flow(data, "t")
    state.generator, student.rounds = cast(Any, student), tag == "scm_fd1"
    one, two = (data[key] for key in sorted(data) if key.startswith(f"{tag}_draw"))
    number, n = (two, one) if one.ndim == 4 else (one, two)  # the discrete one draws its noise first
    step = replayed(state, [number.view(-1, 1, 1, 1), n], real=data["x0"].double(), turn="warmup")
    cast(Any, step).labels = data["condition"].double()
    teacher_score = teacher if tag == "scm_noguid" else teacher.guided
    value = loss.generator_loss(state=state, step=step, teacher_score=cast(Any, teacher_score))
    torch.testing.assert_close(value, data[f"{tag}_loss"], **JVP)
    found = torch.autograd.grad(value.mean(), (student.A, student.B))
    for one, name in zip(found, "AB", strict=True):
        torch.testing.assert_close(one, data[f"{tag}_grad_{name}"].double(), **JVP)
    told(student, 0, data, x=f"{tag}_xt", time=f"{tag}_time", D=f"{tag}_x0_theta")


@pytest.mark.parametrize("tag", [tag for tag in FORMS if tag.startswith("scm")])
def test_the_tangent_and_what_it_is_made_of_are_the_authors(data: Data, tag: str) -> None:
    loss, state = ready(**FORMS[tag])
    io = {key.removeprefix(f"{tag}_"): one.double() for key, one in data.items() if key.startswith(tag)}
    student, teacher, c = Flow(data), Flow(data, "t"), data["condition"].double()
    theta, student.rounds = io["time"].view(-1, 1, 1, 1), tag == "scm_fd1"
    x, s = io["xt"] / theta.cos(), theta.tan()
    D_star = (teacher if tag == "scm_noguid" else teacher.guided)(x, s, c)
    at = replayed(state, []), lambda x, s: student(x, s, c), x, s, D_star, 1.0, 1.0
    D, g = tangent(*at, loss.config)
    F, F_star = ((theta.cos() * io["xt"] - one) / theta.sin() for one in (D, D_star))
    apart = theta.cos() * (F - F_star) + theta.sin() * io["xt"]  # what they log has cos(theta) in its last term alone
    made = {"x0_theta": D, "x0_teacher": D_star, "F_theta": F, "F_teacher": F_star}
    made["df_dt"] = g - (1 - theta.cos()) * apart
    for name, one in made.items():
        torch.testing.assert_close(one.detach(), io[name], **JVP)


@pytest.mark.parametrize("form", ["semi-continuous", "difference"])
def test_differences_have_the_derivative_as_their_limit(form: str) -> None:
    """At an r below 1 and an S other than 1, and where h is longer than the way to data."""
    sizes: list[Tensor] = []
    student = Map(4.0)
    cases: list[dict[str, Any]] = [{}, {"consistency": form, "h": 1e-6}, {"consistency": form, "h": 0.05}]
    draws = [torch.randn(8, 1, 1, 1).double(), torch.randn(8, 3, 8, 8).double()]
    draws[0][0] = -9.0
    real = torch.randn(8, 3, 8, 8).double()
    for keys in cases:
        loss, state = ready(iteration=400, S=0.5, **keys)
        state.generator = cast(Any, student)
        value = loss.consistency(state, replayed(state, draws, real=real), cast(Any, denoised))
        sizes.append(value.detach())
    torch.testing.assert_close(sizes[1], sizes[0], rtol=1e-4, atol=1e-6)
    assert sizes[2].isfinite().all() and not torch.allclose(sizes[2], sizes[0], rtol=1e-4)


def test_the_discrete_loss_is_small_at_the_true_consistency_function_alone() -> None:
    found = []
    for off, N in ((1.0, 1000), (1.0, 48), (4.0, 48)):
        loss, state = ready(S=0.5, consistency="discrete", N=N)
        state.generator = cast(Any, Map(off))
        u = torch.rand(64, 1, 1, 1).double()
        u[0] = 0  # as noisy as there is
        step = replayed(state, [u, torch.randn(64, 3, 8, 8)], real=torch.randn(64, 3, 8, 8).double())
        found.append(float(loss.consistency(state, step, cast(Any, denoised)).detach().mean()))
    assert 100 * found[0] < found[1] < found[2] / 20


@pytest.mark.parametrize(("off", "level"), [(1.0, 0.0), (4.0, 0.1)])
def test_the_tangent_is_zero_at_the_true_consistency_function_alone(off: float, level: float) -> None:
    loss, state = ready(S=0.5)
    state.generator = student = cast(Any, Map(off))
    step = replayed(state, [torch.randn(64, 1, 1, 1), torch.randn(64, 3, 8, 8)], real=torch.randn(64, 3, 8, 8).double())
    value = loss.consistency(state, step, cast(Any, denoised))
    tangent = state.records.means()["rcm/tangent"]
    assert tangent < 1e-10 if level == 0 else tangent > level
    largest = float(torch.autograd.grad(value.mean(), student.m)[0].abs())
    assert largest < 1e-9 if level == 0 else largest > 1e-4


def test_while_r_rises_the_derivative_of_F_counts_in_full_and_the_rest_by_r() -> None:
    """(c) as TrigFlow has it, with dF/dtheta by central differences, and S other than 1."""
    loss, state = ready(iteration=400, S=0.5)
    student = Map(4.0)
    state.generator = cast(Any, student)
    e, n, y = torch.randn(8, 1, 1, 1).double(), torch.randn(8, 3, 8, 8).double(), torch.randn(8, 3, 8, 8).double()
    loss.consistency(state, replayed(state, [e, n], real=y), cast(Any, denoised))
    theta, r = (0.7 + 1.6 * e).exp().atan(), 0.4
    x = theta.cos() * y + theta.sin() * 0.5 * n

    def F(x: Tensor, theta: Tensor, of: Any = student) -> Tensor:
        """S F."""
        D = of(x / theta.cos(), 0.5 * theta.tan())
        return cast(Tensor, (theta.cos() * x - D) / theta.sin())

    v, h = F(x, theta, denoised), 1e-6
    cos, sin = theta.cos(), theta.sin()
    along = h * cos * sin
    dF = (F(x + along * v, theta + along) - F(x - along * v, theta - along)) / (2 * h)
    g = -cos * (1 - r**2 * sin**2).sqrt() * (F(x, theta) - v) - r * cos * sin * x - dF
    want = g.detach().flatten(1).norm(dim=1).mean()
    assert state.records.means()["rcm/tangent"] == pytest.approx(float(want), rel=1e-5)
