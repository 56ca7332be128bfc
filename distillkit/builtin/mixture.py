"""Mixtures of Gaussians: a teacher in closed form, its data, and metrics against the truth."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import (
    Dataset,
    Draw,
    Evaluate,
    State,
    TeacherScore,
    UsageError,
    and_,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    le,
)

PARTS = 10  # of the points, left out one at a time to see how far a metric moves


@frozen(kw_only=True)
class MixtureConfig:
    """Equal-weight isotropic Gaussians on a circle of the plane; an "image" is a point [2,1,1]."""

    modes: int = field(default=8, validator=ge(1))  # Gaussians on the circle
    radius: float = field(default=0.7, validator=ge(0))  # of the circle
    std: float = field(default=0.07, validator=gt(0))  # standard deviation of each Gaussian

    def means(self, like: Tensor) -> Tensor:
        """[K,2]"""
        angle = torch.arange(self.modes, dtype=like.dtype, device=like.device) * (2 * math.pi / self.modes)
        return self.radius * torch.stack([angle.cos(), angle.sin()], 1)


def check_points(dataset: Dataset, table: str) -> None:
    """Raises UsageError unless the images are points of the plane."""
    if tuple(dataset.shape) != (2, 1, 1):
        got = list(dataset.shape)
        raise UsageError(f"{table}: a mixture of Gaussians has images [2, 1, 1]; the data set has {got}")


class MixtureTeacher(TeacherScore):
    """Exact denoiser of a mixture of Gaussians in the plane: no network, no training."""

    @frozen(kw_only=True)
    class Config(MixtureConfig):
        pass

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        check_points(state.dataset, "teacher_score")

    @hookimpl
    def teacher_score(self, state: State, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """E[y | x] [N,2,1,1]: posterior over modes, then the Wiener estimate within each."""
        points, variance = x.flatten(1), sigma.reshape(-1, 1) ** 2  # [N,2], [N,1]
        means, spread = self.config.means(x), self.config.std**2
        distance = (points[:, None] - means[None]).square().sum(2)  # [N,K]
        posterior = (-0.5 * distance / (spread + variance)).softmax(1)
        centre = posterior @ means
        return ((spread * points + variance * centre) / (spread + variance)).reshape(x.shape)


class MixtureDataset(Dataset):
    """Points of a mixture of Gaussians in the plane."""

    known_as = "gaussian-mixture"
    resolution, channels, label_dim, shape = 1, 2, 0, (2, 1, 1)

    @frozen(kw_only=True)
    class Config(MixtureConfig):
        size: int = field(default=4096, validator=and_(ge(1), le(1_000_000)))  # points
        seed: int = field(default=0, validator=ge(0))  # of the points

    config: Config

    def open(self, root: Path) -> None:
        self.points = self._points("train")

    def _points(self, stream: str) -> Tensor:
        """[size,2,1,1]; the modes take turns."""
        n = noise.rows("randn", self.config.seed, f"mixture/{stream}", 0, self.config.size, (2,))
        means = self.config.means(n)
        centre = means[torch.arange(len(n)) % len(means)]
        return (centre + self.config.std * n).reshape(-1, 2, 1, 1)

    def __len__(self) -> int:
        return self.config.size

    def images(self, index: Tensor) -> Tensor:
        return self.points[index]

    def held_out(self) -> Dataset:
        twin = MixtureDataset(self.config)
        twin.points = self._points("held out")
        return twin


class MixtureMetrics(Evaluate):
    """Share of points on a mode, share of modes that got their part, sliced Wasserstein-2 distance.

    Each with its standard error, and with the number of real points beside others, a floor or ceiling.
    """

    better = {"on_mode": "higher", "modes_covered": "higher", "sw2": "lower"}
    means = {
        "on_mode": "Share of generated points that lie on a mode: quality.",
        "modes_covered": "Share of modes that get their part of the points: variety.",
        "sw2": "Sliced Wasserstein-2 distance: how far points must be moved to lie as real ones do.",
    }

    tiny = {"images": 128}

    @frozen(kw_only=True)
    class Config(MixtureConfig):
        images: int = field(default=4096, validator=ge(64))  # generated points
        directions: int = field(default=64, validator=ge(1))  # projections behind the sliced distance

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError unless the images are points of the plane, some of them held out."""
        check_points(state.dataset, "evaluate")
        if state.held_out is None:
            raise UsageError("evaluate: a mixture is measured beside points that are held out; the data set has none")

    @hookimpl
    def evaluate(self, state: State, draw: Draw) -> dict[str, float]:
        n = min(self.config.images, len(state.dataset))
        index = torch.arange(n)
        assert state.held_out is not None, "setup has seen it"
        real, truth = state.dataset.images(index), state.held_out.images(index)
        x = draw(n).x
        found = self._with_errors(x, real)
        ends = {name: "_floor" if way == "lower" else "_ceiling" for name, way in self.better.items()}
        return found | {f"{name}{ends[name]}": value for name, value in self._measure(truth, real).items()}

    def _with_errors(self, x: Tensor, real: Tensor) -> dict[str, float]:
        """Metrics, and as `name_sd` their standard errors by leaving out one in PARTS of both sides at a time."""
        part = torch.arange(len(x)) % PARTS
        left = [self._measure(x[part != i], real[part != i]) for i in range(PARTS)]
        found = self._measure(x, real)
        spread = {name: torch.tensor([each[name] for each in left]).double().std(correction=0) for name in found}
        return found | {f"{name}_sd": math.sqrt(PARTS - 1) * float(sd) for name, sd in spread.items()}

    def _measure(self, x: Tensor, real: Tensor) -> dict[str, float]:
        x, real = x.flatten(1).double(), real.flatten(1).double()
        means = self.config.means(x)
        distance, nearest = torch.cdist(x, means).min(1)
        inside = distance < 4 * self.config.std
        share = torch.bincount(nearest[inside], minlength=len(means)) * len(means) / len(x)
        angle = torch.arange(self.config.directions) * (math.pi / self.config.directions)
        axes = torch.stack([angle.cos(), angle.sin()]).double()  # [2,directions]
        gap = (x @ axes).sort(0).values - (real @ axes).sort(0).values
        return {
            "on_mode": inside.double().mean().item(),
            "modes_covered": (share > 0.5).double().mean().item(),
            "sw2": gap.square().mean().sqrt().item(),
        }
