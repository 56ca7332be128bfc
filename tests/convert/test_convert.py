"""Conversions, by the reference's numbers, by closed form and as inverses of each other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from distillkit import convert
from distillkit.api import UsageError
from distillkit.convert import from_x0, to_x0

DATA = Path(__file__).parent / "data" / "flow_io.npz"
TABLES: dict[str, Callable[[], tuple[float, ...]]] = {
    "linear": convert.linear, "scaled_linear": convert.scaled_linear, "squared_cosine": convert.squared_cosine,
}  # fmt: skip
SCHEDULES = {
    "edm": convert.Edm(), "flow": convert.Flow(), "trigflow": convert.TrigFlow(), "gvp": convert.Gvp(),
    "vp": convert.Vp(), "cosine-logsnr": convert.CosineLogSnr(),
    **{name: convert.Table(alphas_cumprod=make(), interpolated=True) for name, make in TABLES.items()},
}  # fmt: skip
SIGMA = torch.tensor([0.03, 0.3, 1.0, 4.0, 14.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    with np.load(DATA, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def of_reference(name: str, reference: dict[str, Tensor]) -> convert.Schedule:
    if name == "alphas":
        return convert.Table(alphas_cumprod=tuple(reference["alphas_cumprod"].double().tolist()), interpolated=True)
    return {"edm": convert.Edm(), "rf": convert.Flow(), "trig": convert.TrigFlow(sigma_data=1.0)}[name]


def times(name: str, reference: dict[str, Tensor]) -> Tensor:
    t = reference[f"{name}_t"]
    return (t * 1000).round() if name == "alphas" else t  # the reference's are thousandths of the table


@pytest.mark.parametrize("name", ["edm", "rf", "trig", "alphas"])
def test_schedules_have_the_references_scales_and_times(name: str, reference: dict[str, Tensor]) -> None:
    schedule, t = of_reference(name, reference), times(name, reference)
    a, b = schedule.a_b(t)
    torch.testing.assert_close(a, reference[f"{name}_alpha"], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(b, reference[f"{name}_sigma"], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(1 / schedule.sigma(t), reference[f"{name}_sqrt_snr"], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(schedule.t(schedule.sigma(t)), t, rtol=1e-9, atol=1e-9)
    x_0, eps = reference["x0"].double(), reference["eps"].double()
    a, b, at = (value.reshape(-1, 1, 1, 1) for value in (a, b, t))
    torch.testing.assert_close((a * x_0 + b * eps).float(), reference[f"{name}_forward"], rtol=1e-5, atol=1e-6)
    if name != "alphas":
        da, db = schedule.rates(at)
        velocity = (da * x_0 + db * eps).float()
        torch.testing.assert_close(velocity, reference[f"{name}_cond_velocity"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["edm", "rf", "trig", "alphas"])
def test_predictions_become_each_other_as_in_the_reference(name: str, reference: dict[str, Tensor]) -> None:
    schedule, t = of_reference(name, reference), times(name, reference).reshape(-1, 1, 1, 1)
    kinds = ("x0", "eps", "v") if name == "alphas" else ("x0", "eps", "flow")
    x_t, predicted = reference["x_t"], reference["pred"]
    for kind in kinds:
        for other in kinds:
            if (known := reference.get(f"{name}_{kind}_to_{other}")) is not None:
                x_0 = to_x0(kind, predicted, x_t, t, schedule)  # float32, as the reference has it
                found = from_x0(other, x_0, x_t, t, schedule)
                torch.testing.assert_close(found.float(), known, rtol=1e-5, atol=1e-5, msg=f"{kind} to {other}")


@pytest.mark.parametrize("name", SCHEDULES)
def test_time_and_noise_level_are_inverses_and_rates_are_derivatives(name: str) -> None:
    schedule = SCHEDULES[name]
    t = schedule.t(SIGMA)
    torch.testing.assert_close(schedule.sigma(t), SIGMA, rtol=1e-9, atol=0)
    if isinstance(schedule, convert.Table):
        return  # of a table there are none
    h = 1e-6
    for rate, low, high in zip(schedule.rates(t), schedule.a_b(t - h), schedule.a_b(t + h), strict=True):
        torch.testing.assert_close(rate, (high - low) / (2 * h), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction", convert.PREDICTIONS)
def test_a_gaussian_teacher_is_one_denoiser_whatever_it_predicts(name: str, prediction: str) -> None:
    schedule = SCHEDULES[name]
    if isinstance(schedule, convert.Table) and prediction in ("flow", "velocity", "trigflow"):
        with pytest.raises(NotImplementedError):
            schedule.rates(SIGMA)
        return
    mean, s = 0.3, 0.7  # of the data: D(x; sigma) = (s^2 x + sigma^2 mean) / (s^2 + sigma^2)
    sigma = SIGMA.reshape(-1, 1, 1, 1)

    class Gaussian(convert.Converted):
        """Its prediction, written from the conditional means of x_0 and n given x_t."""

        def predict(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
            t = t.reshape(-1, 1, 1, 1)
            a, b = schedule.a_b(t)
            residual = (x_t - a * mean) / (a**2 * s**2 + b**2)
            x_0, n = mean + a * s**2 * residual, b * residual
            if prediction in ("x0", "eps", "v", "score"):
                return {"x0": x_0, "eps": n, "v": a * n - b * x_0, "score": -residual}[prediction]
            da, db = schedule.rates(t)
            flow = da * x_0 + db * n
            scale = schedule.sigma_data if isinstance(schedule, convert.TrigFlow) else 1.0
            return {"flow": flow, "velocity": -flow, "trigflow": flow / scale}[prediction]

    net = Gaussian(4, 1, 0, schedule, prediction)
    net.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    x = torch.randn(len(SIGMA), 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * (1 + sigma)
    torch.testing.assert_close(net(x, sigma), (s**2 * x + sigma**2 * mean) / (s**2 + sigma**2), rtol=1e-10, atol=1e-10)


def test_tables_are_those_of_their_papers() -> None:
    abar = convert.linear()
    assert len(abar) == 1000
    assert abar[0] == pytest.approx(0.9999)
    table = convert.Table(alphas_cumprod=abar)
    assert table.sigma_min == pytest.approx(0.0100005, rel=1e-4)
    assert table.sigma_max == pytest.approx(157.407, rel=1e-4)
    assert convert.scaled_linear()[-1] == pytest.approx(0.0047, rel=0.01)  # sigma 14.6, as latent diffusion's
    assert convert.squared_cosine()[0] == pytest.approx(1 - 4.128422482e-5, rel=1e-9)


def test_the_nearest_index_is_told_and_the_noise_level_itself_decides_the_scales() -> None:
    table = convert.Table(alphas_cumprod=convert.linear())
    levels = table.log_sigmas(SIGMA).exp()
    between = (levels[100] * levels[101]).sqrt() * torch.tensor([0.999, 1.001], dtype=torch.float64)
    assert table.fed(between).tolist() == [100, 101]
    a, b = table.scales(between)
    torch.testing.assert_close(b / a, between)
    moving = convert.Table(alphas_cumprod=convert.linear(), interpolated=True).fed(between)
    assert 100.3 < moving[0] < 100.5 < moving[1] < 100.7


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_network_is_never_told_a_time_that_it_was_not_trained_on(name: str) -> None:
    schedule = SCHEDULES[name]
    far = torch.tensor([1e-6, 1e6], dtype=torch.float64)
    assert ((schedule.fed(far) >= schedule.t_min) & (schedule.fed(far) <= schedule.t_max)).all()


def test_beyond_what_the_network_knows_the_nearest_answers_and_that_is_told_once() -> None:
    s = 0.7

    class Gaussian(convert.Converted):
        """D = s^2 x / (s^2 + sigma^2) as a network that predicts the noise."""

        def predict(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
            a, b = self.schedule.a_b(t.reshape(-1, 1, 1, 1))
            return b * x_t / (a**2 * s**2 + b**2)

    net = Gaussian(4, 1, 0, convert.Table(alphas_cumprod=convert.linear()), "eps")
    net.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    x = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    net(x, 100.0)
    with pytest.warns(UserWarning, match=r"300 \.\.\. 300 were asked of a network that knows 0.01 \.\.\. 157"):
        above = net(300 * x, 300.0)
    top = net.sigma_max
    torch.testing.assert_close(above, s**2 * top * x / (s**2 + top**2))  # as of x scaled to its noise level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        below = net(x, 0.002)
    score = (net(x, net.sigma_min) - x) / net.sigma_min**2
    torch.testing.assert_close((below - x) / 0.002**2, score)


@pytest.mark.parametrize(
    ("make", "told"),
    [(lambda: convert.Table(alphas_cumprod=(0.5, 0.6)), "must fall"),
     (lambda: convert.Edm(t_min=3.0, t_max=2.0), "t_min 3.0 is not below t_max 2.0"),
     (lambda: convert.Converted(4, 1, 0, convert.Edm(), "noise"), "prediction = 'noise' is none of x0, eps")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make: object, told: str) -> None:
    assert callable(make)
    with pytest.raises(UsageError, match=told):
        make()


def test_float32_images_keep_their_dtype_near_the_ends_of_a_schedule() -> None:
    x_0 = torch.full((1, 1, 2, 2), 0.25)
    for t in (1e-4, 0.999):
        at = torch.tensor(t).reshape(1, 1, 1, 1)
        x_t = (1 - at) * x_0 + at * 1.5
        found = to_x0("flow", from_x0("flow", x_0, x_t, at, convert.Flow()), x_t, at, convert.Flow())
        assert found.dtype == torch.float32 and torch.allclose(found, x_0, rtol=1e-4)
    assert math.isclose(convert.Flow().sigma_max, 999.0, rel_tol=1e-9)
