"""CD, CT and ECT against the numbers of FastGen's CM and of the first stage of TCM's authors: where these are the same.

FastGen asks the network at r = 0.002 where ECT's code takes the image itself, and has weights of its own.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from distillkit_cm import pair, weights
from distillkit_cm.cd import Cd
from distillkit_cm.ct import Ct
from distillkit_cm.ect import Ect
from fastgen_networks import Data, Stub, networks, of, recorded, same_gradients
from torch import Tensor

HUBER = {"distance": "huber", "huber_c": 1e-8, "weight": "step"}


@pytest.fixture(scope="module")
def data() -> Data:
    return recorded()


@pytest.mark.parametrize(("tag", "weight"), [("cm_ct", "step"), ("cm_sqrt", "root"), ("cm_cout", "c_out")])
def test_ect_is_fastgens_where_r_is_above_its_bound(data: Data, tag: str, weight: str) -> None:
    want, y = of(data, tag), data["real"].double()
    t = want["t"].view(-1, 1, 1, 1)
    step = SimpleNamespace(
        real=y, labels=data["condition"].double(), lognormal_sigma=lambda *given: t,
        randn_like=lambda x: want["draw01_randn_like"].double(),
    )  # fmt: skip
    student, _ = networks(data, "t")
    q = 1 / (1 - float(want["ratio"]))
    loss = Ect(Ect.Config(q=q, c=1e-8, double_kimg=1.0, weight=weight))
    per_image = loss.generator_loss(SimpleNamespace(generator=student, nimg=0), step)
    above = want["r"] > 0.002
    assert above.any()
    torch.testing.assert_close(student.calls[1].sigma.flatten()[above], want["r"][above], rtol=1e-4, atol=0)
    torch.testing.assert_close(per_image[above].detach(), want["loss_per_image"][above], rtol=1e-4, atol=0)
    unweighted = per_image.detach() / weights.weight(weight, t, want["r"].view(-1, 1, 1, 1))
    torch.testing.assert_close(unweighted[above], want["unweighted"][above], rtol=1e-4, atol=0)
    if above.all():
        per_image.mean().backward()
        agree(per_image, student, want)


@pytest.mark.parametrize(
    ("tag", "keys", "sums"),
    [
        ("cm_ct", HUBER, 1),
        ("cm_q", HUBER, 1),
        ("cm_sigma_sq", {"distance": "l2", "weight": "snr"}, None),  # over an image, where ours is a mean
    ],
)
def test_ct_is_fastgens_on_its_noise_levels(
    data: Data, tag: str, keys: dict[str, Any], sums: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    want, y = of(data, tag), data["real"].double()
    student, _ = networks(data, "t")
    step = on_its_levels(want, data, monkeypatch)
    loss = Ct(Ct.Config(mu0=0.0, **keys))
    per_image = (sums or y[0].numel()) * loss.generator_loss(
        SimpleNamespace(generator=student, nimg=0, total=1), step, None
    )
    per_image.mean().backward()
    agree(per_image, student, want)


def on_its_levels(want: Data, data: Data, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A step whose grid gives the recorded noise levels."""
    y = data["real"].double()
    levels = iter(want[name].view(-1, 1, 1, 1) for name in ("t", "r"))
    monkeypatch.setattr(pair, "rho_grid", lambda *given: next(levels))
    return SimpleNamespace(
        real=y, labels=data["condition"].double(), rand=lambda *shape: torch.zeros(len(y), *shape),
        randn_like=lambda x: want["draw01_randn_like"].double(),
    )  # fmt: skip


def agree(per_image: Tensor, student: Stub, want: Data) -> None:
    torch.testing.assert_close(per_image.detach(), want["loss_per_image"], rtol=1e-4, atol=0)
    for name in {"total_loss", "cm_loss"} & set(want):
        torch.testing.assert_close(per_image.mean().detach(), want[name], rtol=1e-4, atol=0)
    for call, name in zip(student.calls, ("D_yt", "D_yr"), strict=True):
        if name in want:
            torch.testing.assert_close(call.D.float(), want[name], rtol=1e-4, atol=1e-5)
    same_gradients(student, want)


@pytest.mark.parametrize("guided", [False, True])
def test_cd_is_fastgens_on_its_noise_levels(data: Data, guided: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    want = of(data, "cm_cd_cfg" if guided else "cm_cd")
    student, teacher = networks(data, "t")

    def denoise(x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        D = teacher(x, sigma, labels)
        return D + 0.5 * (D - teacher(x, sigma, data["neg_condition"].double())) if guided else D

    step = on_its_levels(want, data, monkeypatch)
    loss = Cd(Cd.Config(**HUBER, solver="euler"))
    per_image = loss.generator_loss(SimpleNamespace(generator=student), step, denoise)
    per_image.mean().backward()
    agree(per_image, student, want)


def test_the_first_stage_of_the_authors_code_is_ect(data: Data) -> None:
    want, y = of(data, "nv_stage1"), data["real"].double()
    t = want["t"].view(-1, 1, 1, 1)
    step = SimpleNamespace(
        real=y, labels=data["condition"].double(), lognormal_sigma=lambda *given: t,
        randn_like=lambda x: want["draw00_randn_like"].double(),
    )  # fmt: skip
    student, _ = networks(data, "t")
    loss = Ect(Ect.Config(q=1 / (1 - float(want["ratio"])), c=1e-8, double_kimg=1.0))
    per_image = loss.generator_loss(SimpleNamespace(generator=student, nimg=0), step)
    per_image.mean().backward()
    agree(per_image, student, want | {"loss_per_image": want["loss"], "total_loss": want["total"]})
