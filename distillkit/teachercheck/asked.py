"""Real images with noise, and what a teacher makes of them: errors by image and noise level, each asked once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import torch
from attrs import define, frozen
from torch import Tensor

from distillkit import noise
from distillkit.noise import SIGMA_MAX, SIGMA_MIN
from distillkit.recipe.schema import Recipe
from distillkit.train.state import State

Ask = Callable[[Tensor, float, Tensor | None], Tensor]  # D of x [n,C,H,W], one noise level, labels [n,L]
LEVELS = 9
NUMBERS = 4096  # of pixels, at least, for whose errors a mean is steady
FEWEST, MOST = 32, 512  # images
MANY = 2048  # images whose mean and spread stand for the data set's
MEMORY = 2**24  # numbers in all of them, at most
MIDDLE = 0.3, 0.8, 2.0, 5.0  # noise levels, in standard deviations of the data, where mistakes show most


@frozen(eq=False)
class Real:
    """Real images and what is known of all of them."""

    y: Tensor  # [n,C,H,W]
    labels: Tensor | None  # [n,L]
    mean: Tensor  # [1,C,H,W]
    spread: float  # mean squared distance of an image's values from `mean`

    @property
    def std(self) -> float:
        """Standard deviation of the values around the mean image."""
        return math.sqrt(self.spread)

    @classmethod
    def of(cls, state: State, images: int | None) -> Real:
        """`images`: how many; None: as many as a steady mean takes. Spread over the whole data set."""
        data = state.dataset
        size = math.prod(data.shape)
        every = data.images(spaced(len(data), min(MANY, max(MEMORY // size, FEWEST)))).double()
        n = images or min(max(math.ceil(NUMBERS / size), FEWEST), MOST)
        index = spaced(len(data), n)
        labels = data.labels(index)
        mean = every.mean(0, keepdim=True)
        spread = float((every - mean).square().mean())
        like = torch.empty(0, device=state.device, dtype=state.dtype)
        return cls(data.images(index).to(like), None if labels is None else labels.to(like), mean.to(like), spread)

    def noisy(self, sigma: float, stream: str) -> Tensor:
        """x_sigma [n,C,H,W]; the same noise whenever it is asked for."""
        n = noise.rows("randn", 0, f"check-teacher/{stream}", 0, len(self.y), tuple(self.y.shape[1:]))
        return self.y + sigma * n.to(self.y)


def spaced(of: int, n: int) -> Tensor:
    """At most n numbers below `of`, evenly spaced."""
    return torch.linspace(0, of - 1, min(of, n)).long()


@define(eq=False)
class Teacher:
    """The teacher of a state, asked without gradients; `calls` counts."""

    state: State
    calls: int = 0

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
        self.calls += 1
        return self.state.teacher_score(x.to(self.state.dtype), sigma, labels)


@define(eq=False)
class Once:
    """An answer for each question: mistakes are looked for in answers that others have asked for already."""

    ask: Ask
    known: dict[Any, tuple[Tensor, Tensor | None, Tensor]] = attrs.field(factory=dict)

    def __call__(self, x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
        key = id(x), sigma, id(labels)
        if key not in self.known:
            self.known[key] = x, labels, self.ask(x, sigma, labels)  # kept, so that no other tensor has their ids
        return self.known[key][2]


@frozen(eq=False)
class Trial:
    """Real images with noise of a few levels in the middle, for comparing ways to ask."""

    real: Real
    levels: tuple[float, ...]
    noisy: tuple[Tensor, ...]

    @classmethod
    def of(cls, real: Real, low: float, high: float) -> Trial:
        """At levels that the teacher was made for, `low` ... `high`."""
        levels = tuple(dict.fromkeys(min(max(share * real.std, low), high) for share in MIDDLE))
        return cls(real, levels, tuple(real.noisy(sigma, "middle") for sigma in levels))

    def errors(self, ask: Ask, labels: Tensor | None, levels: Iterable[int] | None = None) -> Tensor:
        """Mean squared error of each image, float64 [levels, n]."""
        which = range(len(self.levels)) if levels is None else levels
        return torch.stack([error(ask(self.noisy[i], self.levels[i], labels), self.real.y) for i in which])

    def ratios(self, errors: Tensor, than: Tensor, levels: Iterable[int] | None = None) -> Tensor:
        """How much larger `errors` are `than` others at each level; both of `errors`, float64 [levels]."""
        which = range(len(self.levels)) if levels is None else levels
        # What is far below any use is no better than a little less far: a floor.
        floor = torch.tensor([1e-3 * min(self.levels[i] ** 2, self.real.spread) for i in which], dtype=torch.float64)
        return ((errors.mean(1).cpu() + floor) / (than.mean(1).cpu() + floor)).nan_to_num(math.inf)

    def shares(self, errors: Tensor) -> Tensor:
        """Errors of all levels in those of the better of noisy and mean image, float64 [levels]."""
        nothing = torch.tensor([min(sigma**2, self.real.spread) for sigma in self.levels], dtype=torch.float64)
        return (errors.mean(1).cpu() / nothing).nan_to_num(math.inf)


def geometric(ratios: Tensor) -> float:
    """Geometric mean."""
    return float(ratios.log().mean().exp())


def error(D: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of each image, float64 [n]."""
    return (D.double() - y.double()).square().flatten(1).mean(1)


def ends(recipe: Recipe) -> tuple[float, float]:
    """The lowest and the highest noise level that the recipe's method and sampler name; else those of EDM."""
    found: list[float] = []
    for part in (recipe.generator_loss, recipe.sample):
        keys = {one.name: getattr(part.config, one.name) for one in attrs.fields(type(part.config))}
        found += [keys[name] for name in ("sigma_min", "sigma_max", "sigma_init") if name in keys]
        found += keys.get("sigmas", ())
        drawn = next((prefix for prefix in ("G_P", "P", "t") if f"{prefix}_mean" in keys), None)
        if drawn and keys.get("noise") != "grid":
            mean, std = keys[f"{drawn}_mean"], keys[f"{drawn}_std"]
            found += [math.exp(mean - 2.5 * std), math.exp(mean + 2.5 * std)]
        elif part is recipe.generator_loss:
            found += [SIGMA_MIN, SIGMA_MAX]
    found = [sigma for sigma in found if 0 < sigma < math.inf] or [SIGMA_MIN, SIGMA_MAX]
    return min(found), max(found)


def levels(low: float, high: float) -> list[float]:
    """Noise levels low ... high, evenly spaced in their logarithm."""
    return torch.logspace(math.log10(low), math.log10(high), LEVELS, dtype=torch.float64).tolist()
