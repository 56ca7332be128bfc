"""How a method of several steps has the images made that it trains on."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import deep_iterable, ge, gt, in_, min_len

from distillkit.api.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from distillkit.api.state import State
    from distillkit.api.step import Step


def falling(instance: Any, attribute: Any, sigmas: tuple[float, ...]) -> None:
    """A validator: each level is below the one before, and the first is finite."""
    if math.inf in sigmas:
        raise ValueError(f"{attribute.name!r} must be finite: {list(sigmas)}")
    if any(b >= a for a, b in pairwise(sigmas)):
        raise ValueError(f"{attribute.name!r} must fall from the first to the last: {list(sigmas)}")


@frozen(kw_only=True)
class Rollout:
    """`step.x` is made by the student's own first k + 1 calls, k drawn anew in each iteration, instead of the sampler.

    Call i is asked at sigmas[i], of what the call before made with new noise on it, as the sampler `few-step` does.
    """

    sigmas: tuple[float, ...] = field(validator=[min_len(1), deep_iterable(gt(0)), falling])  # of the calls
    drawn: str = field(default="batch", validator=in_(("batch", "row")))
    """k is one number for all images on all ranks, or one for each image"""
    start: str = field(default="noise", validator=in_(("noise", "data")))
    """what the first call gets: noise; or call k, then the only one, a real image with the noise of sigmas[k]"""
    gradient: str = field(default="last", validator=in_(("last", "all")))  # calls that x's gradient goes through
    clamp: bool = False  # clamp what is noised again to [-1,1]
    sigma_min: float = field(default=0.0, validator=ge(0))  # a call's image has this noise: less is added
    calls: Callable[[State, Step], int] | None = None  # how many calls make the images of a step; None: k + 1, drawn
    levels: Callable[[Tensor], Tensor] | None = None
    """noise levels [N,1,1,1] of a call after the first, of uniform numbers of its own, raised to no more than those of
    the call before; None: sigmas"""


def rollout_of(state: State, key: str, **how: Any) -> Rollout:
    """Steps of the recipe's sampler, so that the student is trained at those it will draw by, drawn and started `how`.

    `key`, as the recipe says it, is named in the UsageError where that sampler has none.
    """
    sampler = state.recipe.sample
    if sampler.name != "few-step" or len(sampler.config.sigmas) < 2:
        raise UsageError(
            f'{key} trains the steps of [sample] use = "few-step" with sigmas of two or more, such as sigmas = '
            "[80.0, 17.5, 2.5, 0.2]"
        )
    c = sampler.config
    return Rollout(sigmas=c.sigmas, clamp=c.clamp, sigma_min=c.sigma_min, **how)


def asked_levels(state: State) -> list[float]:
    """The noise levels at which the recipe's sampler asks the student, in turn: those that it must be trained at."""
    import torch

    asked: list[float] = []

    class Student:
        sigma_min, sigma_max = state.generator.sigma_min, state.generator.sigma_max

        def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, **further: Any) -> Tensor:
            asked.append(float(sigma.max()))
            return x

    z = torch.zeros(1, 1, 1, 1, dtype=torch.float64, device="cpu")  # levels as they are written, not rounded
    asking = SimpleNamespace(generator=Student(), seed=0, device=z.device, dtype=z.dtype)
    state.hook.sample(state=asking, z=z, labels=None)
    return asked
