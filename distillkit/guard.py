"""Whether a run is well, judged by the rows of its log alone: the same run gives the same verdict, resumed or not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import fmean, median
from typing import Any

from attrs import define, field, frozen

from distillkit.disk import files
from distillkit.recipe.schema import Guard

LOOK = "look"  # `what` of a row that has nothing but measurements
HEALTH = "health"  # key of the measurements, see evaluate/health.py, in such rows and in those of metrics
START, WORSE = "start/", "worse/"  # before a metric: of the teacher's one step; how many times that it is now
EARLIER = 5  # ticks, before a gradient norm can be called unusual
GAIN, LEARNED = 0.95, 0.5  # a generator learns: its metric is a twentieth better than ever, or half of the one step's
TWICE = 2.0  # as far from a threshold as it was at its best: what has always been beyond it has not fallen
Row = Mapping[str, Any]


@frozen
class Sign:
    """Something that a healthy run does not show."""

    name: str
    text: str  # the number, and the threshold
    since: int = 0  # images seen at the first look of those in a row that showed it
    looks: int = 1  # how many these are

    def __str__(self) -> str:
        return f"{self.name}: {self.text}, since {self.since / 1000:g} kimg"


@define
class Watch:
    """Reads the rows of a run as they come; a look is a row with measurements, and the ticks before it."""

    guard: Guard
    batch: int
    start: dict[str, float] = field(factory=dict)  # metrics of the teacher's one step
    signs: dict[str, Sign] = field(factory=dict)  # those that the newest look shows, by name
    healthy: int | None = None  # images seen at the newest look without a sign; None: there was none
    look: int = -1  # images seen at the newest look
    _best: dict[str, float] = field(factory=dict)  # the least that a number was of its threshold so far
    _ticks: list[Row] = field(factory=list)  # since the last look
    _norms: dict[str, list[float]] = field(factory=dict)  # of the ticks before, by network
    _before: tuple[int, int] = (0, 0)  # images, and skipped updates, at the last look
    _metrics: dict[str, float] = field(factory=dict)  # the best of each so far, in those of the teacher's one step
    _stuck: bool = False  # the last metrics show a generator that does not learn

    def see(self, row: Row) -> list[Sign]:
        """Take the next row of the log -> the signs that have stood for `looks` looks with it."""
        if row["what"] == "tick":
            self._ticks.append(row)
        if HEALTH not in row or self.guard.action == "off":
            return []
        seen, nimg = files.floats(row[HEALTH]), row["nimg"]
        self.start |= {key.removeprefix(START): value for key, value in seen.items() if key.startswith(START)}
        self._learn(seen)
        found = dict([*self._of_images(seen, nimg), *self._of_ticks(self._early(nimg))])
        self.look = nimg
        if nimg == 0:
            return []  # nothing has trained: it is what the next look is compared with
        self._note(nimg, found)
        return [sign for sign in self.signs.values() if sign.looks == self.guard.looks]

    @property
    def collapsed(self) -> list[Sign]:
        """The signs that have stood for long enough."""
        return [sign for sign in self.signs.values() if sign.looks >= self.guard.looks]

    def _early(self, nimg: int) -> bool:
        return nimg < self.guard.first * self.batch

    def _note(self, nimg: int, found: dict[str, str]) -> None:
        old = self.signs
        self.signs = {
            name: Sign(name, text, old[name].since, old[name].looks + 1) if name in old else Sign(name, text, nimg)
            for name, text in found.items()
        }
        self.healthy = self.healthy if self.signs else nimg

    def _learn(self, row: Row) -> None:
        metrics = {key: value for key, value in row.items() if key.startswith(WORSE)}
        if metrics:
            self._stuck = all(v > max(LEARNED, GAIN * self._metrics.get(key, 1.0)) for key, v in metrics.items())
            self._metrics |= {key: min(v, self._metrics.get(key, 1.0)) for key, v in metrics.items()}

    def _of_images(self, row: Row, nimg: int) -> Iterator[tuple[str, str]]:
        """Signs in the measurements of images: name, and what was measured.

        Anything may be seen within the first iterations. A teacher's one step at a high noise level, and new weights,
        have less than the threshold of contrast and diversity: that is no collapse unless they lose half of it.
        """
        if row["finite"] < 1:
            yield "not finite", f"{1 - row['finite']:.0%} of images are not finite"
        early, measured = self._early(nimg), list(limits(row, self.guard))
        for key, far, name, text in measured:
            if not early and not far <= max(1.0, TWICE * self._best.get(key, 0.0)):
                yield name, text
            if nimg == 0 or key in self._best:
                self._best[key] = min(self._best.get(key, far), far)
        if not any(key.startswith(WORSE) for key, *_ in measured):  # no metric this time: it is as it was
            yield from ((name, sign.text) for name, sign in self.signs.items() if name == "worse than one step")

    def _of_ticks(self, early: bool) -> Iterator[tuple[str, str]]:
        """Signs of discriminators, gradients and skipped updates in the ticks since the last look."""
        ticks, self._ticks = self._ticks, []
        if not ticks:
            return
        # Means of the ticks, which hold about as many images each.
        means = {key: fmean(v) for key in {k: 0 for row in ticks for k in row} if (v := numbers(ticks, key))}
        for key, mean in means.items():
            if key.startswith("logit/deviation") and not early:
                yield from of_discriminator(key.removeprefix("logit/deviation"), means, self.guard, self._stuck)
            if key.startswith("grad_norm/"):
                earlier = self._norms.setdefault(key, [])
                if len(earlier) >= EARLIER and mean > self.guard.grad_norm * median(earlier):
                    usual = f"{mean:.3g}, {self.guard.grad_norm:g} times the usual {median(earlier):.3g}"
                    yield "exploding gradient", f"{key.removeprefix('grad_norm/')}: norm {usual}"
                earlier += numbers(ticks, key)
        last, (nimg, skipped) = ticks[-1], self._before
        self._before = last["nimg"], last.get("skipped", 0)
        iterations = max(last["nimg"] - nimg, 1) / self.batch
        share = min((self._before[1] - skipped) / iterations, 1.0)  # an iteration may skip two updates
        if share > self.guard.skipped:
            yield "not finite", f"{share:.0%} of iterations skipped an update, more than {self.guard.skipped:.0%}"


def numbers(rows: list[Row], key: str) -> list[float]:
    return [float(row[key]) for row in rows if isinstance(row.get(key), int | float)]


def limits(row: Row, guard: Guard) -> Iterator[tuple[str, float, str, str]]:
    """What has a threshold in a row: its key, how many times that it is, the name of that sign, what was measured."""
    least = {
        "contrast": (guard.contrast, "one colour", "contrast within images {:.2g} of real ones', below {:g}"),
        "diversity": (guard.diversity, "one mode", "variance among images {:.2g} of real ones', below {:g}"),
    }
    largest = {
        "saturated": (guard.saturated, "saturated", "{:.0%} of values at their limits, more than {:.0%}"),
        "shift": (guard.shift, "shifted", "mean {:.2g} deviations of real images from theirs, more than {:g}"),
        "spread": (guard.spread, "blown up", "deviation of values {:.2g} times that of real ones, more than {:g}"),
    }
    for key, (limit, name, text) in least.items():
        if key in row:
            far = limit / row[key] if row[key] > 0 else math.inf if limit else 0.0
            yield key, far, name, text.format(row[key], limit)
    for key, (limit, name, text) in largest.items():
        if key in row:
            yield key, row[key] / limit, name, text.format(row[key], limit)
    for key, value in row.items():
        if key.startswith(WORSE):
            metric = key.removeprefix(WORSE)
            text = f"{metric} {value:.3g} times as bad as the untouched teacher's, more than {guard.worse:g}"
            yield key, value / guard.worse, "worse than one step", text


def of_discriminator(end: str, means: Mapping[str, float], guard: Guard, stuck: bool) -> Iterator[tuple[str, str]]:
    """Signs in the logits of real and generated images since the last look, by how far apart they lie.

    Far apart is well as long as the generator learns from it, as in the first kimg of DMD2: it wins from a stuck one.
    """
    apart = separation(end, means)
    told = (
        f"accuracy {means[f'accuracy/real{end}']:.3f} on real, {means[f'accuracy/fake{end}']:.3f} on generated images"
    )
    if apart is None:
        yield f"dead discriminator{end}", f"all logits are alike; {told}"
    elif apart < -guard.fooled:
        yield f"dead discriminator{end}", f"real images are {-apart:.2g} deviations below generated ones; {told}"
    elif apart > guard.winning and stuck:
        yield f"winning discriminator{end}", f"logits are {apart:.2g} deviations apart, over {guard.winning:g}; {told}"


def separation(end: str, means: Mapping[str, float]) -> float | None:
    """Difference of the mean logits of real and generated images, in deviations; None: the logits have none."""
    fake, real, deviation = (means[f"logit/{key}{end}"] for key in ("fake", "real", "deviation"))
    return (real - fake) / deviation if deviation > 1e-6 * max(abs(fake), abs(real), 1e-6) else None


def relative(metrics: Mapping[str, float], start: Mapping[str, float], better: Mapping[str, str]) -> dict[str, float]:
    """How many times worse than at the start each metric is that was measured then."""
    found = {}
    for name, before in start.items():
        if name in metrics:
            pair = (metrics[name], before) if better.get(name) == "lower" else (before, metrics[name])
            found[f"{WORSE}{name}"] = pair[0] / pair[1] if pair[1] > 0 else math.nan if pair[0] > 0 else 0.0
    return found
