"""Samplers in D(x; sigma): the references' images, orders of convergence, noise levels, flow maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distillkit.api import Sample, UsageError
from distillkit.builtin import euler, flow_map
from distillkit.builtin.dpm_solver import DpmSolver
from distillkit.builtin.euler import Ddim, Euler
from distillkit.builtin.few_step import FewStep
from distillkit.builtin.flow_map import FlowMap
from distillkit.builtin.heun import Heun
from distillkit.builtin.levels import Levels, levels
from distillkit.builtin.one_step import OneStep
from distillkit.convert import Converted, Flow, linear, scaled_linear

FILE = Path(__file__).parent / "data" / "samplers.npz"
inf = math.inf


@pytest.fixture(scope="module")
def io() -> dict[str, Tensor]:
    """Of FastGen, diffusers 0.42.1 and CTM: what they make of elementwise stubs."""
    with np.load(FILE) as data:
        return {key: torch.from_numpy(np.asarray(data[key])).double() for key in data.files}


def sample(kind: type[Sample], net: Callable[..., Tensor], z: Tensor, **keys: Any) -> Tensor:
    component: Any = kind(kind.Config(**keys))
    return component.sample(SimpleNamespace(generator=net, seed=0), z, None)


def z_rows(n: int = 4) -> Tensor:
    return torch.randn(n, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Stub(nn.Module):
    """D(x; sigma) of a function, within a range."""

    def __init__(self, D: Callable[..., Tensor], sigma_min: float = 0.0, sigma_max: float = inf) -> None:
        super().__init__()
        self.D, self.sigma_min, self.sigma_max = D, sigma_min, sigma_max

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.D(x, torch.as_tensor(sigma))


class Map(Stub):
    """A flow map: D(x; sigma, r)."""

    second_time = True

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, r: Any = None) -> Tensor:
        return self.D(x, torch.as_tensor(sigma), torch.as_tensor(sigma if r is None else r))


# The references' images.


class Velocity(Converted):
    """v = A sin(x_t) + B (1 + t)."""

    def __init__(self, io: dict[str, Tensor]) -> None:
        super().__init__(8, 3, 0, Flow(t_max=1 - 1e-10), "flow")
        self.weight, self.io = nn.Parameter(torch.zeros((), dtype=torch.float64)), io

    def predict(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        return self.io["flow/A"] * x_t.sin() + self.io["flow/B"] * (1 + t.view(-1, 1, 1, 1))


@pytest.mark.parametrize("shift", [1, 3])
def test_euler_on_the_flow_grid_is_flow_matchings_euler(io: dict[str, Tensor], shift: int) -> None:
    t = io[f"flow/fm_shift{shift}_sigmas"]
    keys = {"grid": "flow", "shift": float(shift), "steps": 4, "sigma_max": inf, "sigma_min": float(t[3] / (1 - t[3]))}
    net = Velocity(io)
    made = torch.tensor(levels(net, Euler.Config(**keys)), dtype=torch.float64)
    torch.testing.assert_close(made / (1 + made), t, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        sample(Euler, net, io["flow/z"], **keys), io[f"flow/fm_shift{shift}_y"], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("name", "kind"), [("euler", Euler), ("dpm", DpmSolver)])
def test_edm_schedulers_images(io: dict[str, Tensor], name: str, kind: type[Sample]) -> None:
    def D(x: Tensor, sigma: Tensor) -> Tensor:
        total = (sigma**2 + 0.25).sqrt()
        F = io["flow/A"] * (x / total).sin() + io["flow/B"] * (1 + sigma.log() / 4)
        return 0.25 / total**2 * x + 0.5 * sigma / total * F

    # Their first noise is sqrt(80^2 + 1) z.
    y = sample(kind, Stub(D), io["flow/z"] * io[f"flow/edm_{name}_init_noise_sigma"] / 80, steps=5)
    torch.testing.assert_close(y, io[f"flow/edm_{name}_y"], rtol=0, atol=1e-5)


def eps(x: Tensor, t: Any) -> Tensor:
    return 0.9 * x.sin() + torch.as_tensor(t) / 3000


def at_indices(abar: tuple[float, ...] = linear()) -> Stub:
    """The same network as D(x; sigma), told indices between two where the sampler goes there, linear in sigma."""
    a2 = torch.tensor(abar, dtype=torch.float64)
    table = ((1 - a2) / a2).sqrt()

    def D(x: Tensor, sigma: Tensor) -> Tensor:
        low = (torch.searchsorted(table, sigma) - 1).clamp(0, 998)
        t = low + (sigma - table[low]) / (table[low + 1] - table[low])
        return x - sigma * eps(x / (1 + sigma**2).sqrt(), t)

    return Stub(D)


STABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}


@pytest.mark.parametrize(
    ("theirs", "settings", "kind", "keys"),
    [
        ("DDIM", {"clip_sample": False}, Ddim, {"grid": "leading", "steps": 6}),
        ("DDIM", {"clip_sample": False}, Ddim, {"grid": "leading", "steps": 6, "eta": 0.7}),
        ("DDIM", {"timestep_spacing": "trailing"}, Ddim, {"grid": "trailing", "steps": 5, "clamp": True}),
        ("DDIM", STABLE, Ddim, {"grid": "leading", "steps": 4, "table": "scaled_linear"}),
        ("EulerDiscrete", {}, Euler, {"grid": "linspace", "steps": 6}),
        ("HeunDiscrete", {"beta_start": 1e-4, "beta_end": 0.02}, Heun, {"grid": "linspace", "steps": 6}),
    ],
)
def test_images_are_those_of_diffusers_schedulers(
    monkeypatch: pytest.MonkeyPatch, theirs: str, settings: dict[str, Any], kind: type[Sample], keys: dict[str, Any]
) -> None:
    scheduler = getattr(pytest.importorskip("diffusers"), f"{theirs}Scheduler")(**settings)
    z, c = z_rows(), kind.Config(**keys)
    fresh = torch.randn(keys["steps"], *z.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    monkeypatch.setattr(euler, "own_noise", lambda z, seed: fresh.__getitem__)
    scheduler.set_timesteps(keys["steps"])
    x = z * scheduler.init_noise_sigma
    for i, t in enumerate(scheduler.timesteps):
        more = {"eta": keys["eta"], "variance_noise": fresh[i]} if "eta" in keys else {}
        x = scheduler.step(eps(scheduler.scale_model_input(x, t), t), t, x, **more).prev_sample
    net = at_indices(scaled_linear() if "table" in keys else linear())
    # DDIM's first noise is z at an index that leaves some signal: sqrt(1 + sigma^2) z in the variance-exploding form.
    top = levels(net, c)[0]
    first = (1 + top**2) ** 0.5 if theirs == "DDIM" else float(scheduler.init_noise_sigma)
    torch.testing.assert_close(sample(kind, net, z * first / top, **keys), x, rtol=2e-5, atol=1e-4)


# Where the flow goes, in closed form.

S = 0.5  # standard deviation of the data


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """The exact denoiser of N(0, S^2): its flow is x(t) = x(T) sqrt((S^2 + t^2) / (S^2 + T^2))."""
    return x * S**2 / (S**2 + sigma**2)


def gaussian_map(x: Tensor, sigma: Tensor, r: Tensor) -> Tensor:
    """D for which x_r = D + (r / sigma) (x - D) is where the flow is at r; at r = sigma the limit of that."""
    if torch.equal(sigma.double(), r.double()):
        return gaussian(x, sigma)
    x_r = x * ((S**2 + r**2) / (S**2 + sigma**2)).sqrt()
    return (x_r - r / sigma * x) / (1 - r / sigma)


@pytest.mark.parametrize(
    ("kind", "keys", "order"),
    [(Euler, {}, 1), (Ddim, {}, 1), (DpmSolver, {}, 2), (Heun, {}, 2),
     (Euler, {"grid": "flow", "sigma_min": 0.0}, 1), (DpmSolver, {"grid": "flow", "shift": 0.5}, 2)],
)  # fmt: skip
def test_steps_converge_at_their_order(kind: type[Sample], keys: dict[str, Any], order: int) -> None:
    z = z_rows()
    exact = z * 80 * S / math.sqrt(S**2 + 80**2)
    # From sigma_min to 0 is one step whatever their number: it must not be what is left.
    within = {"sigma_min": 1e-4, **keys}
    errors = [float((sample(kind, Stub(gaussian), z, steps=n, **within) - exact).abs().max()) for n in (160, 320)]
    assert 2 ** (order - 0.25) < errors[0] / errors[1] < 2 ** (order + 0.35)


@pytest.mark.parametrize("keys", [{}, {"steps": 3}, {"sigmas": (80.0, 2.0)}, {"grid": "flow", "steps": 4}])
def test_a_flow_map_is_followed_exactly_by_any_jumps(keys: dict[str, Any]) -> None:
    z = z_rows()
    net = Map(gaussian_map, sigma_max=80.0)
    x = sample(FlowMap, net, z, **keys)
    torch.testing.assert_close(x, z * 80 * S / math.sqrt(S**2 + 80**2), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("keys", [{}, {"steps": 3}, {"sigmas": (80.0, 2.0)}, {"grid": "flow", "shift": 0.5}])
def test_the_last_jump_of_a_flow_map_may_end_above_0(keys: dict[str, Any]) -> None:
    z, end, shift = z_rows(), 0.1, keys.get("shift", 1.0)
    x = sample(FlowMap, Map(gaussian_map, sigma_max=80.0), z, end=end, **keys)
    there = z * 80 * math.sqrt((S**2 + end**2) / (S**2 + 80**2))
    torch.testing.assert_close(x, there * shift / (shift + end), rtol=1e-6, atol=1e-9)


def test_a_flow_map_is_guided_by_its_own_answer_without_labels() -> None:
    class Told(Map):
        def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, **further: Any) -> Tensor:
            return x * 0 + (0.0 if labels is None else labels.sum(1).view(-1, 1, 1, 1))

    z = z_rows()
    config = FlowMap.Config(guidance=1.5, steps=3)
    assert FlowMap(config).nfe == 6 and FlowMap(FlowMap.Config(steps=3)).nfe == 3
    state = SimpleNamespace(generator=Told(gaussian_map, sigma_max=80.0), seed=0)
    x = FlowMap(config).sample(state, z, torch.full((len(z), 2), 0.5))
    torch.testing.assert_close(x, torch.full_like(z, 1.5))


def test_a_denoiser_without_a_second_time_is_stepped_as_by_euler() -> None:
    keys = {"steps": 5}
    assert torch.equal(
        sample(FlowMap, Stub(gaussian), z_rows(), **keys), sample(Euler, Stub(gaussian), z_rows(), **keys)
    )


def test_meanflows_samples(io: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    def D(x: Tensor, sigma: Tensor, to: Tensor) -> Tensor:
        t, r = sigma / (1 + sigma), to / (1 + to)
        x_t = (1 - t) * x
        u = io["meanflow/A"] * x_t.sin() + io["meanflow/B"] * (1 + t - r / 2 + t * r)
        return x_t - t * (u + 0.05 * io["meanflow/condition"].view(-1, 1, 1, 1))

    monkeypatch.setattr(flow_map, "own_noise", lambda z, seed: lambda i: io["meanflow/sample_sde2_draw00_randn_like"])
    for name, keys in {"ode1": {"sigmas": (999.0,)}, "ode2": {"sigmas": (999.0, 1.0)},
                       "sde2": {"sigmas": (999.0, 1.0), "gamma": 1.0}}.items():  # fmt: skip
        x = sample(FlowMap, Map(D), io["meanflow/sample_z"], **keys)
        torch.testing.assert_close(x, io[f"meanflow/sample_{name}_y"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.3, 1.0])
def test_what_a_jump_leaves_out_comes_back_as_noise(gamma: float) -> None:
    asked: list[tuple[float, float]] = []

    def D(x: Tensor, sigma: Tensor, r: Tensor) -> Tensor:
        asked.append((float(sigma), float(r)))
        return gaussian_map(x, sigma, r)

    z = torch.randn(1500, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = sample(FlowMap, Map(D), z, sigmas=(80.0, 5.0, 0.7), gamma=gamma)
    keep = (1 - gamma**2) ** 0.5
    assert asked == [pytest.approx(pair) for pair in ((80.0, 5 * keep), (5.0, 0.7 * keep), (0.7, 0.0))]
    assert float(x.std()) == pytest.approx(S, rel=0.02)  # each level has the variance it must have
    assert float((x * z).mean() / (x.std() * z.std())) < 1 - gamma / 5  # and other noise than the first


@pytest.mark.parametrize("kind", [OneStep, FewStep])
def test_a_single_jump_of_a_flow_map_goes_to_the_end(kind: type[Sample]) -> None:
    asked = []

    def D(x: Tensor, sigma: Tensor, r: Tensor) -> Tensor:
        asked.append(float(r))
        return x / (1 + sigma)

    sample(kind, Map(D), z_rows())
    assert asked == [0.0]


@pytest.mark.parametrize("grid", ["rho", "flow", "cosine", "leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [2, 7, 1000])
def test_levels_fall_to_zero_within_the_networks_range(grid: str, steps: int) -> None:
    t = levels(Stub(gaussian, 0.05, 10.0), Levels(grid=grid, steps=steps))
    assert len(t) == steps + 1 and t[-1] == 0 and all(b <= a for a, b in pairwise(t))
    assert max(t) <= 10.0 * (1 + 1e-9) and min(t[:-1]) >= 0.05 * (1 - 1e-9)


def test_a_list_of_levels_is_brought_into_the_networks_range() -> None:
    assert levels(Stub(gaussian, 0.01, 50.0), Levels(sigmas=(80.0, 1.0, 0.002))) == [50.0, 1.0, 0.01, 0.0]


@pytest.mark.parametrize("kind", [Euler, Ddim, DpmSolver, Heun, FlowMap])
def test_levels_that_meet_at_an_end_of_the_range_do_no_harm(kind: type[Sample]) -> None:
    net = Map(gaussian_map, sigma_max=50.0) if kind is FlowMap else Stub(gaussian, sigma_max=50.0)
    x = sample(kind, net, z_rows(), sigmas=(80.0, 60.0, 1.0))
    assert x.isfinite().all()


def test_even_steps_of_flow_matching_end_at_zero() -> None:
    t = torch.tensor(levels(Stub(gaussian, 0.0, 999.0), Levels(grid="flow", steps=4, sigma_max=inf, sigma_min=0.0)))
    torch.testing.assert_close(t / (1 + t), 0.999 * torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))


def test_what_has_no_levels_is_refused() -> None:
    for wrong in ({"sigma_min": 0.0}, {"sigma_max": inf}, {"sigmas": (1.0, 2.0)}, {"sigmas": (1.0,) * 5000},
                  {"sigmas": (inf, 1.0)}, {"grid": "even"}):  # fmt: skip
        with pytest.raises(ValueError, match=r"sigma|grid"):
            Levels(**wrong)
    with pytest.raises(UsageError, match=r"no noise levels from 0\.5 to 0\.1"):
        levels(Stub(gaussian, 0.5, 0.1), Levels())
    with pytest.raises(UsageError, match="sigma_max must be one"):
        levels(Stub(gaussian), Levels(grid="flow", sigma_max=inf))
    with pytest.raises(UsageError, match="1001 steps of a table of 1000"):
        levels(Stub(gaussian), Levels(grid="leading", steps=1001))
