"""The verdict on a teacher: its numbers, what is wrong with it, and what to change."""

from __future__ import annotations

import math
from typing import Any

import attrs
from attrs import field, frozen


@frozen(kw_only=True)
class Level:
    """Mean squared errors at one noise level."""

    sigma: float
    error: float  # of D
    nothing: float  # of the noisy image itself
    mean: float  # of the data's mean image

    @property
    def share(self) -> float:
        """Error in that of the better of those two, which know nothing."""
        return self.error / min(self.nothing, self.mean) if min(self.nothing, self.mean) else math.nan


@frozen(kw_only=True)
class Finding:
    """Something wrong, by its name."""

    name: str
    found: str
    change: str
    gain: float | None = None  # how many times smaller errors are with it undone


@frozen(kw_only=True)
class Report:
    """What was asked of a teacher, and the verdict."""

    recipe: str
    teacher: str
    findings: tuple[Finding, ...]
    levels: tuple[Level, ...]
    notes: dict[str, str]  # by topic, for reading
    numbers: dict[str, Any] = field(factory=dict)  # by topic, for programs
    images: int
    calls: int
    picture: str | None = None

    @property
    def right(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        """For programs: numbers that are not finite are null."""
        told = attrs.asdict(self) | {"verdict": "right" if self.right else "wrong"}
        for level, row in zip(self.levels, told["levels"], strict=True):
            row["share"] = level.share
        found: dict[str, Any] = finite(told)
        return found


def finite(value: Any) -> Any:
    """The value with None for every number in it that JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list | tuple) else value
