"""Counter-based noise and data order: a row is a function of (seed, stream, number), however it is asked for."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillkit import noise

FEW = settings(max_examples=30, derandomize=True, deadline=None)
KINDS = st.sampled_from(["randn", "rand"])


@FEW
@given(KINDS, st.integers(0, 2**31), st.integers(0, 100), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_a_row_does_not_depend_on_how_the_stream_is_sliced(kind: str, seed: int, first: int, parts: list[int]) -> None:
    whole = noise.rows(kind, seed, "x", first, sum(parts), (3,))
    at, pieces = first, []
    for n in parts:
        pieces.append(noise.rows(kind, seed, "x", at, n, (3,)))
        at += n
    assert torch.equal(torch.cat(pieces), whole)


@FEW
@given(st.integers(0, 10**12), st.integers(1, 5))
def test_rows_far_out_cost_no_more_and_still_agree(first: int, n: int) -> None:
    table = noise.rows("randn", 0, "x", first, n, (2,))
    assert all(torch.equal(table[i], noise.rows("randn", 0, "x", first + i, 1, (2,))[0]) for i in range(n))


def test_seed_stream_kind_and_row_each_make_other_numbers() -> None:
    rows = [
        noise.rows("rand", 0, "x", 0, 64, (8,)),
        noise.rows("rand", 1, "x", 0, 64, (8,)),
        noise.rows("rand", 0, "y", 0, 64, (8,)),
        noise.rows("rand", 0, "x", 64, 64, (8,)),
        uniform(noise.rows("randn", 0, "x", 0, 64, (8,))),
    ]
    everything = torch.cat([row.flatten() for row in rows])
    assert len(everything.unique()) > 0.999 * len(everything)
    correlation = torch.corrcoef(torch.stack([row.flatten() for row in rows])) - torch.eye(5)
    assert correlation.abs().max() < 4.5 / math.sqrt(512)


def uniform(n: torch.Tensor) -> torch.Tensor:
    """Unit normal -> its distribution function, which is uniform."""
    return (1 + (n / math.sqrt(2)).erf()) / 2


@pytest.mark.parametrize("kind", ["randn", "rand"])
def test_the_numbers_have_the_distribution_they_should(kind: str) -> None:
    found = noise.rows(kind, 3, "x", 0, 5_000, ())
    found = (uniform(found) if kind == "randn" else found).sort().values
    gap = (found - (torch.arange(5_000) + 0.5) / 5_000).abs().max()
    assert gap < 1.95 / math.sqrt(5_000)  # Kolmogorov-Smirnov at 0.1 %


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    noise.rows("randn", 0, "x", 0, 5, (2,))
    noise.shuffled(0, "x", 0, 5, 9)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_rho_grid_runs_from_sigma_max_to_sigma_min_through_the_papers_levels() -> None:
    u = torch.linspace(0, 1, 3, dtype=torch.float64)
    middle = ((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    torch.testing.assert_close(noise.rho_grid(u), torch.tensor([80, middle, 0.002], dtype=torch.float64))


def test_lognormal_and_weight_by_hand() -> None:
    torch.testing.assert_close(
        noise.lognormal(torch.tensor([-1.0, 0, 2]), -1.2, 1.2).log(), torch.tensor([-2.4, -1.2, 1.2])
    )
    assert noise.edm_weight(torch.tensor(0.5)).item() == pytest.approx(0.5 / 0.0625)
    assert noise.edm_weight(torch.tensor(2.0), 1.0).item() == pytest.approx(5 / 4)


def test_the_denoising_loss_by_hand_and_with_an_expected_error_divided_by_it() -> None:
    y, sigma = torch.zeros(2, 1, 1, 2), torch.tensor([0.5, 1.0]).view(2, 1, 1, 1)
    D = torch.tensor([[1.0, 2.0], [3.0, 0.0]]).view(2, 1, 1, 2)
    weighted = torch.tensor([[8.0, 32.0], [45.0, 0.0]]).view(2, 1, 1, 2)  # lambda: 0.5 / 0.0625 and 1.25 / 0.25
    torch.testing.assert_close(noise.denoising_loss(D, y, sigma), weighted)
    u = torch.tensor([math.log(2.0), 0.0]).view(2, 1, 1, 1)
    halved = weighted * torch.tensor([0.5, 1.0]).view(2, 1, 1, 1) + u
    torch.testing.assert_close(noise.denoising_loss(D, y, sigma, u=u), halved)
    assert torch.equal(noise.denoising_loss(D, y, sigma), noise.denoising_loss(D, y, sigma, u=0 * u))


def test_heuns_step_is_of_second_order() -> None:
    """Data ~ N(0, 0.5^2): D = x s^2 / (s^2 + t^2), and x falls with sqrt(s^2 + t^2) along a trajectory."""
    x, errors = torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64), []
    for h in (0.1, 0.05):
        t = torch.ones_like(x)
        exact = x * ((0.25 + (1 - h) ** 2) / 1.25) ** 0.5
        found = noise.heun_step(lambda x, t, labels: x * 0.25 / (0.25 + t**2), x, t, t - h)
        errors.append(float((found - exact).abs()))
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.15)  # a step's error is of third order


def test_fold_is_a_seed_that_torch_takes_and_no_two_are_alike() -> None:
    seeds = {noise.fold(a, b) for a in range(30) for b in ("x", "y", 1)}
    assert len(seeds) == 90 and all(0 <= seed < 2**63 for seed in seeds)
    assert noise.fold(12, 3) != noise.fold(1, 23)
