"""What numbers say of copied training images, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping

BELOW = 2.0  # spreads of the floor
ABOVE = 4.0  # spreads of a share


def of(metrics: Mapping[str, float]) -> list[str]:
    """Remarks on metrics with their floors: a distance below its floor, one to held-out images that is not, copies."""
    distances = [name for name in ("fd", "sfd", "kid") if name in metrics and below(metrics, name)]
    said = [
        f"{name} {metrics[name]:.3g} lies below {_real(metrics, name)}: real images are not as near to the training "
        "images, so these look like copies"
        for name in distances
    ]
    for name in distances:
        test = f"{name}_test"
        if f"{test}_floor" in metrics and further(metrics, name, test):
            gap = f"{metrics[name] - metrics[f'{name}_floor']:+.3g} for the training images"
            other = f"{metrics[test] - metrics[f'{test}_floor']:+.3g} for held-out ones ({test})"
            said.append(f"beside what real images score it is {gap} but {other}: near to what it was trained on alone")
    for name, what in (
        ("near_train", "are nearer to a training image than 95 % of unseen real ones"),
        ("duplicates", "have a double among the generated"),
    ):
        if name in metrics and metrics[name] > metrics[f"{name}_floor"] + ABOVE * metrics[f"{name}_floor_sd"]:
            said.append(
                f"{name}: {100 * metrics[name]:.3g} % of images {what}; of real images {_real(metrics, name, 100)} %"
            )
    return said


def below(metrics: Mapping[str, float], name: str) -> bool:
    """Is a distance below the lower end of its floor?"""
    floor = metrics.get(f"{name}_floor", -math.inf)
    return metrics[name] < floor - BELOW * metrics.get(f"{name}_floor_sd", 0.0)


def further(metrics: Mapping[str, float], name: str, test: str) -> bool:
    """Is the distance to held-out images further above its floor than the one to training images?"""
    gaps = [metrics[each] - metrics[f"{each}_floor"] for each in (name, test)]
    return gaps[1] - gaps[0] > BELOW * math.hypot(metrics[f"{name}_floor_sd"], metrics[f"{test}_floor_sd"])


def _real(metrics: Mapping[str, float], name: str, scale: float = 1.0) -> str:
    return f"{scale * metrics[f'{name}_floor']:.3g} +- {scale * metrics[f'{name}_floor_sd']:.2g}"
