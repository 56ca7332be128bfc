"""What networks predict at x_t, and x_0 from it: D = c_x x_t + c_p prediction, by the schedule's a, b and rates.

flow = a' x_0 + b' n is the derivative of x_t, so with n = (x_t - a x_0) / b each prediction is linear in x_0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distillkit.convert.schedules import Schedule, TrigFlow, double

Pair = tuple[Tensor, Tensor]


def _flow(a: Tensor, b: Tensor, rates: Pair) -> Pair:
    da, db = rates
    turn = db * a - da * b
    return db / turn, -b / turn


# name -> (what it is, c_x and c_p from a, b)
PREDICTIONS: dict[str, str] = {
    "x0": "the image",
    "eps": "the noise n",
    "v": "a n - b x_0, of a schedule with a^2 + b^2 = 1 (arXiv:2202.00512)",
    "flow": "dx_t/dt, towards the noise",
    "velocity": "-dx_t/dt, towards the image: of networks whose time runs from noise to data",
    "trigflow": "F of TrigFlow: dx_t/dt / sigma_data (arXiv:2410.11081)",
    "score": "the gradient of ln p(x_t), -n / b",
}
_BY_SCALES: dict[str, Callable[[Tensor, Tensor], Pair]] = {
    "x0": lambda a, b: (torch.zeros_like(a), torch.ones_like(a)),
    "eps": lambda a, b: (1 / a, -b / a),
    "v": lambda a, b: (a / (a**2 + b**2), -b / (a**2 + b**2)),
    "score": lambda a, b: (1 / a, b**2 / a),
}
_OF_FLOW: dict[str, Callable[[Schedule], float]] = {
    "flow": lambda schedule: 1.0,
    "velocity": lambda schedule: -1.0,
    "trigflow": lambda schedule: schedule.sigma_data if isinstance(schedule, TrigFlow) else 1.0,
}


def coefficients(prediction: str, schedule: Schedule, scales: Pair, t: Tensor) -> Pair:
    """c_x and c_p of D = c_x x_t + c_p prediction at time t, where the schedule's a and b are `scales`."""
    a, b = scales
    if prediction in _BY_SCALES:
        return _BY_SCALES[prediction](a, b)
    c_x, c_p = _flow(a, b, schedule.rates(t))
    return c_x, c_p * _OF_FLOW[prediction](schedule)


def to_x0(prediction: str, predicted: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """x_0 [N,C,H,W] from what was predicted at x_t [N,C,H,W] and t, which broadcasts to it; in predicted's dtype."""
    c_x, c_p = coefficients(prediction, schedule, schedule.a_b(double(t)), double(t))
    return (c_x * double(x_t) + c_p * double(predicted)).to(predicted.dtype)


def from_x0(prediction: str, x_0: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """What a network predicts at x_t [N,C,H,W] and t where the image is x_0 [N,C,H,W]; in its dtype."""
    c_x, c_p = coefficients(prediction, schedule, schedule.a_b(double(t)), double(t))
    return ((double(x_0) - c_x * double(x_t)) / c_p).to(x_0.dtype)
