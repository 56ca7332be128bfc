"""What `distillkit tune` varies: keys of a recipe with a range or choices, and points spread evenly over them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from distillkit.api import UsageError
from distillkit.recipe.write import value_text

TIMES = {"lr": 4.0, "ratio": 4.0, "ema_halflife_kimg": 4.0, "std": 1.5}  # up and down, by the last word of a key
PLUS = {"mean": 1.0}  # of ln sigma and its like
BATCHES = (0.5, 1.0, 2.0)
TABLES = ("generator", "generator_loss", "auxiliary_loss")  # where these words mean what they do here
TMAX = (400.0, 1000.0)  # SiD's
OURS = {"run.kimg": "--kimg sets it", "run.seed": "--fresh-seeds says how many there are"}


@frozen
class Axis:
    """One key: `choices`, or a range from `low` to `high`, even in its logarithm where both are above 0."""

    key: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()  # as TOML
    now: str = ""  # the recipe's own value

    def at(self, share: float) -> str:
        """The value at a share 0 <= share < 1 of the axis, as TOML, with three digits."""
        if self.choices:
            return self.choices[int(share * len(self.choices))]
        if self.low > 0:
            return value_text(rounded(self.low * (self.high / self.low) ** share))
        return value_text(rounded(self.low + (self.high - self.low) * share))

    @property
    def told(self) -> str:
        return " | ".join(self.choices) if self.choices else f"{self.low:g} .. {self.high:g}"


def rounded(value: float) -> float:
    return float(f"{value:.3g}")


def axis(text: str) -> Axis:
    """Read KEY=LOW..HIGH or KEY=A|B|C. Raises UsageError for anything else."""
    key, _, values = text.partition("=")
    key, values = key.strip(), values.strip()
    if key and (found := re.fullmatch(r"(\S+?)\s*\.\.\s*(\S+)", values)):
        try:
            low, high = map(float, found.groups())
        except ValueError:
            low = high = math.nan
        if math.isfinite(low) and math.isfinite(high) and low < high:
            return Axis(key, low, high)
    elif key and "|" in values and all(part.strip() for part in values.split("|")):
        return Axis(key, choices=tuple(part.strip() for part in values.split("|")))
    raise UsageError(f"--vary {text[:80]!r}: KEY=LOW..HIGH or KEY=A|B|C, such as generator.optimizer.lr=1e-4..1e-2")


def asked(texts: Sequence[str]) -> list[Axis]:
    """Read all that are asked for. Raises UsageError for a key that is given twice, or that tuning itself sets."""
    axes = [axis(text) for text in texts]
    for key, times in Counter(one.key for one in axes).items():
        if times > 1 or key in OURS:
            raise UsageError(f"--vary {key}: {OURS.get(key, 'it is given twice')}")
    return axes


def usual(tables: Mapping[str, Any]) -> list[Axis]:
    """The axes that are tried where none are named: of what a resolved recipe has, around its own values."""
    batch = tables["run"]["batch"]
    batches = tuple(str(max(1, round(batch * share))) for share in BATCHES)
    found = [one for name in TABLES for key, value in leaves(tables.get(name, {}), name) if (one := around(key, value))]
    return [*found, Axis("run.batch", choices=tuple(dict.fromkeys(batches)), now=str(batch))]


def around(key: str, value: float) -> Axis | None:
    """The axis of a key, None where it has none or the value is not above 0."""
    name = key.rpartition(".")[2]
    word, now = name.rpartition("_")[2], value_text(value)
    if name == "tmax":
        return Axis(key, *TMAX, now=now)
    if word in PLUS:
        return Axis(key, value - PLUS[word], value + PLUS[word], now=now)
    times = TIMES.get(name) or TIMES.get(word)
    if name == "ratio" and not key.startswith("auxiliary_loss"):
        return None
    return Axis(key, value / times, value * times, now=now) if times and value > 0 else None


def leaves(table: Any, name: str) -> Iterator[tuple[str, float]]:
    """Dotted keys of all numbers in a table."""
    inside = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    for key, value in inside:
        dotted = f"{name}.{key}"
        if isinstance(value, float):
            yield dotted, value
        yield from leaves(value, dotted)


def points(axes: Sequence[Axis], number: int, seed: int = 0) -> list[tuple[str, ...]]:
    """`number` settings KEY=VALUE of all axes: Sobol's points, which are even on each axis and in each pair."""
    from torch.quasirandom import SobolEngine  # slow to import

    shares = SobolEngine(len(axes), scramble=True, seed=seed).draw(number).tolist()
    return [tuple(f"{one.key}={one.at(share)}" for one, share in zip(axes, point, strict=True)) for point in shares]
