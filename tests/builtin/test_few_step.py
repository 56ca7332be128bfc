"""The few-step sampler: the reference's numbers, and noise that belongs to its image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from distillkit.builtin import few_step
from distillkit.builtin.few_step import FewStep
from distillkit.noise import rho_grid

FILE = Path(__file__).parent / "data" / "cm_two_jumps.npz"


def shrink(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
    return x / (1 + sigma)


def z_rows(n: int) -> Tensor:
    return torch.randn(n, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def sample(z: Tensor, network: Callable[..., Tensor] = shrink, seed: int = 0, **keys: object) -> Tensor:
    return FewStep(FewStep.Config(**keys)).sample(SimpleNamespace(generator=network, seed=seed), z, None)


def test_two_jumps_are_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(FILE) as data:
        want = {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}

    def network(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """F = A x_in + B (1 + c_noise) in the consistency form."""
        norm, above = (sigma**2 + 0.25).sqrt(), sigma - 0.002
        F = want["A_target"] * x / norm + want["B_target"] * (1 + sigma.log() / 4)
        return 0.25 / (above**2 + 0.25) * x + above * 0.5 / norm * F

    monkeypatch.setattr(few_step, "own_noise", lambda z, seed: lambda i: want["ms_noise"][i - 1])
    u = want["ms_ts"][:2].double() / (int(want["ms_steps"]) - 1)
    sigmas = tuple(rho_grid(u).tolist())
    assert sigmas[0] == pytest.approx(80) and want["ms_ts"][2] == want["ms_steps"] - 1  # a third jump from sigma_min
    x = sample(want["ms_x_T"] / sigmas[0], network, sigmas=sigmas)
    torch.testing.assert_close(x, want["ms_out"], rtol=1e-4, atol=1e-5)


def test_one_step_is_one_call_at_sigma_max() -> None:
    z = z_rows(3)
    torch.testing.assert_close(sample(z, clamp=False), 80 * z / 81)
    torch.testing.assert_close(sample(z), (80 * z / 81).clamp(-1, 1))


def test_new_noise_brings_x_from_sigma_min_to_the_next_sigma() -> None:
    seen: list[tuple[Tensor, float]] = []

    def network(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        seen.append((x, float(sigma.flatten()[0])))
        return torch.zeros_like(x)

    sample(z_rows(2000), network, sigmas=(80.0, 0.5), sigma_min=0.3)
    (first, s0), (second, s1) = seen
    assert (s0, s1) == (80.0, 0.5)
    assert float(first.std()) == pytest.approx(80, rel=0.05) and float(second.std()) == pytest.approx(0.4, rel=0.05)


def test_noise_belongs_to_the_image_and_the_seed() -> None:
    keys = {"sigmas": (80.0, 2.0, 0.5), "clamp": False}
    z = z_rows(6)
    whole = sample(z, **keys)
    torch.testing.assert_close(sample(z[3:], **keys), whole[3:])
    assert not torch.allclose(sample(z, seed=1, **keys), whole)


def test_nfe_is_the_number_of_sigmas() -> None:
    calls: list[Tensor] = []
    config = FewStep.Config(sigmas=(80.0, 1.0, 0.2))
    state = SimpleNamespace(generator=lambda x, sigma, labels: calls.append(x) or x, seed=0)
    FewStep(config).sample(state, z_rows(2), None)
    assert len(calls) == FewStep(config).nfe == 3


@pytest.mark.parametrize("sigmas", [(), (80.0, 0.0), (1.0, 2.0), (1.0, 1.0)])
def test_sigmas_that_do_not_fall_are_refused(sigmas: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"sigmas|must be|Length"):
        FewStep.Config(sigmas=sigmas)
