"""Metrics of points in the plane: their errors are as large as their spread over draws."""

from __future__ import annotations

import torch

from distillkit.builtin.mixture import MixtureDataset, MixtureMetrics


def test_errors_are_as_large_as_the_spread_over_draws() -> None:
    metric = MixtureMetrics(MixtureMetrics.Config())
    runs = []
    for seed in range(30):
        points = MixtureDataset(MixtureDataset.Config(size=600, seed=seed))
        points.open(None)  # type: ignore[arg-type]
        away = points.points + 0.06 * torch.randn(600, 2, 1, 1, generator=torch.Generator().manual_seed(seed))
        runs.append(metric._with_errors(away.flatten(1), points.held_out().images(torch.arange(600))))
    for name in ("on_mode", "sw2"):
        values, errors = (torch.tensor([run[key] for run in runs]) for key in (name, f"{name}_sd"))
        assert 0.6 < errors.mean() / values.std() < 1.8, name


def test_points_that_are_not_finite_have_numbers_that_are_not() -> None:
    metric = MixtureMetrics(MixtureMetrics.Config())
    x = torch.full((64, 2, 1, 1), torch.nan)
    found = metric._with_errors(x, torch.zeros(64, 2, 1, 1))
    assert found["on_mode"] == 0 and found["sw2"] != found["sw2"] and found["sw2_sd"] != found["sw2_sd"]
