"""How a method of several steps has the images made that it trains on."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from attrs import field, frozen
from attrs.validators import deep_iterable, ge, gt, in_, min_len


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
