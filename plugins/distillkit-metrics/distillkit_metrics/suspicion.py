"""What numbers say of copied training images, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping

BELOW = 2.0  # spreads of the floor
ABOVE = 4.0  # spreads of a share


def of(found: Mapping[str, float]) -> list[str]:
    """Remarks on metrics with their floors: a distance below its floor, one to held-out images that is not, copies."""
    distances = [name for name in ("fd", "sfd", "kid") if name in found and below(found, name)]
    said = [
        f"{name} {found[name]:.3g} lies below {_real(found, name)}: real images are not as near to the training "
        "images, so these look like copies"
        for name in distances
    ]
    for name in distances:
        test = f"{name}_test"
        if f"{test}_floor" in found and further(found, name, test):
            gap = f"{found[name] - found[f'{name}_floor']:+.3g} for the training images"
            other = f"{found[test] - found[f'{test}_floor']:+.3g} for held-out ones ({test})"
            said.append(f"beside what real images score it is {gap} but {other}: near to what it was trained on alone")
    for name, what in (
        ("near_train", "are nearer to a training image than 95 % of unseen real ones"),
        ("duplicates", "have a double among the generated"),
    ):
        if name in found and found[name] > found[f"{name}_floor"] + ABOVE * found[f"{name}_floor_sd"]:
            said.append(
                f"{name}: {100 * found[name]:.3g} % of images {what}; of real images {_real(found, name, 100)} %"
            )
    return said


def below(found: Mapping[str, float], name: str) -> bool:
    """Is a distance below the lower end of its floor?"""
    floor = found.get(f"{name}_floor", -math.inf)
    return found[name] < floor - BELOW * found.get(f"{name}_floor_sd", 0.0)


def further(found: Mapping[str, float], name: str, test: str) -> bool:
    """Is the distance to held-out images further above its floor than the one to training images?"""
    gaps = [found[each] - found[f"{each}_floor"] for each in (name, test)]
    return gaps[1] - gaps[0] > BELOW * math.hypot(found[f"{name}_floor_sd"], found[f"{test}_floor_sd"])


def _real(found: Mapping[str, float], name: str, scale: float = 1.0) -> str:
    return f"{scale * found[f'{name}_floor']:.3g} +- {scale * found[f'{name}_floor_sd']:.2g}"
