"""Averages of any length from the few that training kept: post-hoc EMA (arXiv:2312.02696, Section 3).

An average of relative width sigma_rel at image t weighs the weights of image s <= t by s^gamma.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from torch import Tensor

from distillkit.api import InputError

WIDEST = 12**-0.5  # sigma_rel of gamma = 0
FILE = re.compile(r"(\d{12})-(0\.\d{4})\.safetensors")  # images seen, sigma_rel


def file_name(nimg: int, sigma_rel: float) -> str:
    """Of a kept average."""
    return f"{nimg:012d}-{sigma_rel:.4f}.safetensors"


def rebuild(folder: Path, sigma_rel: float, nimg: int | None = None) -> dict[str, Tensor]:
    """The weights averaged over a width of `sigma_rel` at `nimg` images, from those that `power-ema` kept in a folder.

    None: at the last one kept; later ones than `nimg` are left out. Raises InputError where none was kept.
    """
    kept = [(int(m[1]), float(m[2]), path) for path in sorted(folder.glob("*")) if (m := FILE.fullmatch(path.name))]
    kept = [average for average in kept if nimg is None or average[0] <= nimg]
    if not kept:
        raise InputError(f"{folder}: holds no averages of `power-ema` ({file_name(nimg or 0, 0.05)} or earlier)")
    times, widths, paths = zip(*kept, strict=True)
    shares = coefficients(times, widths, nimg or max(times), sigma_rel)
    return combine(map(safetensors.torch.load_file, paths), shares)


def gamma_of(sigma_rel: Any) -> Any:
    """Exponent of the average of width sigma_rel [...], a share of the run. Source: Eq. (126)."""
    s = np.asarray(sigma_rel, dtype=np.float64) ** -2
    roots = [np.roots([1, 7, 16 - value, 12 - value]).real.max() for value in s.flatten()]
    return np.reshape(roots, s.shape)


def sigma_rel_of(gamma: Any) -> Any:
    """Width of the average of exponent gamma [...]. Source: Eq. (123)."""
    g = np.asarray(gamma, dtype=np.float64)
    return np.sqrt((g + 1) / ((g + 2) ** 2 * (g + 3)))


def power_beta(sigma_rel: Any, nimg: float, batch: float) -> Any:
    """Share of the old average that stays in the step that ends at `nimg` images. Source: Eq. (127)."""
    return (1 - batch / nimg) ** (gamma_of(sigma_rel) + 1)


def coefficients(nimg: Any, sigma_rel: Any, to_nimg: float, to_sigma_rel: float) -> Any:
    """Shares [n], of sum 1, of n kept averages in the one that comes nearest to (to_nimg, to_sigma_rel).

    Least squares between the profiles over time, by their scalar products. Source: Algorithm 3.
    """
    t, gamma = np.asarray(nimg, dtype=np.float64), gamma_of(sigma_rel)
    gram = _product(t[:, None], gamma[:, None], t, gamma)
    shares = np.linalg.solve(gram, _product(t, gamma, np.float64(to_nimg), gamma_of(to_sigma_rel)))
    return shares / shares.sum()


def combine(averages: Iterable[dict[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """The weights, by name, of a sum of averages [n] by their shares [n]; computed in float64, one after the other."""
    total: dict[str, Tensor] = {}
    for average, share in zip(averages, shares, strict=True):
        total = {name: total.get(name, 0) + t.double() * float(share) for name, t in average.items()}
    return {name: t.to(average[name].dtype) for name, t in total.items()}


def _product(t_a: Any, gamma_a: Any, t_b: Any, gamma_b: Any) -> Any:
    """Integral over time of both profiles' product; each is (gamma + 1) s^gamma / t^(gamma + 1) to its t (Eq. 151)."""
    ratio = np.where(t_a < t_b, (t_a / t_b) ** gamma_b, (t_b / t_a) ** gamma_a)
    return (gamma_a + 1) * (gamma_b + 1) * ratio / ((gamma_a + gamma_b + 1) * np.maximum(t_a, t_b))
