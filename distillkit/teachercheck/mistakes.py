"""The usual mistakes, each as what undoes it: if the teacher denoises better so asked, that is its mistake.

The mean squared error has one minimum, E[y | x]: a right teacher only gets worse by any of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from attrs import frozen
from torch import Tensor

from distillkit.convert import PREDICTIONS, Edm, Flow, Schedule, Table, Vp
from distillkit.convert.predictions import coefficients
from distillkit.teachercheck.asked import Ask, Once, Trial

BETTER = 0.8  # errors of those asked as it is, at most, for a mistake to be called one
READINGS = {"prediction", "time reversed"}  # two answers to one question
SHIFTS = 32  # of labels that are tried, at most


@frozen(eq=False)
class Mistake:
    """A mistake, how its author finds it, and the teacher with it undone."""

    name: str
    found: str
    change: str
    ask: Ask
    ratio: float = 1.0  # of the errors with it undone to those without


# Predictions and time: with x_t = a x and D = c_x x_t + c_p prediction, what was predicted can be had back.


def readings(network: object) -> list[tuple[Schedule, tuple[str, ...], tuple[str, ...]]]:
    """Schedules, as what a prediction may be read now on each, and what it may be; of a network that tells, its own."""
    arc, line = ("eps", "v", "x0", "score"), ("flow", "velocity", "x0", "eps")
    schedule, prediction = getattr(network, "schedule", None), getattr(network, "prediction", None)
    if isinstance(schedule, Schedule) and prediction in PREDICTIONS:
        smooth = type(schedule).rates is not Schedule.rates
        return [(schedule, (str(prediction),), tuple(PREDICTIONS) if smooth else arc)]
    return [(Vp(), arc, arc), (Flow(), line, line)]


def predictions(ask: Ask, network: object) -> Iterator[Mistake]:
    """What is predicted is read as something else."""
    for schedule, taken_for, may_be in readings(network):
        for read in taken_for:
            for real in may_be:
                if read != real:
                    yield Mistake(
                        "prediction", f"what it predicts is {real} ({PREDICTIONS[real]}), and is read as {read}",
                        f'prediction = "{real}", where the network is wrapped', reread(ask, schedule, read, real),
                    )  # fmt: skip


def reread(ask: Ask, schedule: Schedule, read: str, real: str) -> Ask:
    """The teacher whose prediction, which was read as one, is read as another."""

    def asked(x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
        level = torch.tensor(sigma, dtype=torch.float64)
        (a, b), t = schedule.scales(level), schedule.t(level)
        c_x, c_p = coefficients(read, schedule, (a, b), t)
        d_x, d_p = coefficients(real, schedule, (a, b), t)
        x_t = float(a) * x.double()
        predicted = (ask(x, sigma, labels).double() - float(c_x) * x_t) / float(c_p)
        return float(d_x) * x_t + float(d_p) * predicted

    return asked


def times(ask: Ask, network: object) -> Iterator[Mistake]:
    """The time that the network is told runs the other way; it may predict another thing besides."""
    for schedule, taken_for, may_be in readings(network):
        if isinstance(schedule, Edm):
            continue  # its time is the noise level
        there = Once(mirrored(ask, schedule))
        for read in taken_for:
            for real in may_be:
                also = "" if read == real else f'; prediction = "{real}" besides, which was read as {read}'
                yield Mistake(
                    "time reversed", "its time runs the other way: what it is told is t counted from the wrong end",
                    f"tell the network {'T - 1 - t' if isinstance(schedule, Table) else '1 - t'} where it is told t now"
                    + also, turned(there, schedule, read, real),
                )  # fmt: skip


def other_end(schedule: Schedule, sigma: float) -> tuple[Tensor, Tensor]:
    """The time of sigma, and that as far from the other end; both float64."""
    whole = round(schedule.t_max) if abs(schedule.t_max - 1) < 0.01 else schedule.t_max
    t = schedule.t(torch.tensor(sigma, dtype=torch.float64))
    return t, schedule.t_min + whole - t


def mirrored(ask: Ask, schedule: Schedule) -> Ask:
    """What the teacher says at the same x_t and the mirrored time."""

    def asked(x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
        (a, _), (a_there, b_there) = (
            schedule.scales(torch.tensor(sigma).double()),
            schedule.a_b(other_end(schedule, sigma)[1]),
        )
        return ask((float(a / a_there) * x.double()).to(x), float(b_there / a_there), labels)

    return asked


def turned(there: Ask, schedule: Schedule, read: str, real: str) -> Ask:
    """The teacher whose time is counted from the other end; `there`: see `mirrored`."""

    def asked(x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
        (a, b), (t, far) = schedule.scales(torch.tensor(sigma).double()), other_end(schedule, sigma)
        c_x, c_p = coefficients(read, schedule, schedule.a_b(far), far)
        d_x, d_p = coefficients(real, schedule, (a, b), t)
        x_t = float(a) * x.double()
        predicted = (there(x, sigma, labels).double() - float(c_x) * x_t) / float(c_p)
        return float(d_x) * x_t + float(d_p) * predicted

    return asked


# Scale.


def scaled(ask: Ask, s: float, b: float = 0.0) -> Ask:
    """A teacher of images s y + b, asked about y."""
    return lambda x, sigma, labels: (ask(s * x + b, s * sigma, labels) - b) / s


def scales(ask: Ask, trial: Trial) -> Iterator[Mistake]:
    """The images that it knows are larger or smaller than the data set's."""
    labels, middle = trial.real.labels, [len(trial.levels) // 2]

    def cost(s: float, b: float, where: Sequence[int] | None) -> float:
        errors = trial.errors(scaled(ask, s, b), labels, where)
        return trial.ratio(errors, torch.full_like(errors, trial.real.spread), where)

    tried = {(2 ** (k / 2), 0.0): 0.0 for k in range(-8, 9)} | {(0.5, 0.5): 0.0, (127.5, 127.5): 0.0}
    for s, b in tried:
        tried[s, b] = cost(s, b, middle)
    s, b = min(tried, key=lambda pair: tried[pair])
    if not b:
        for step in (2**0.25, 2**0.125, 2**0.0625, 2**0.03, 2**0.015, 2**0.007):
            s = min((s / step, s, s * step), key=lambda s: cost(s, 0.0, None))
    if b or not 0.9 < s < 1.1:
        words = {0.0: f"the data set's times {s:.3g}", 0.5: "from 0 to 1", 127.5: "from 0 to 255"}[b]
        undone = f"{s:.3g} x" + (f" + {b:g}" if b else "")
        yield Mistake(
            "scale", f"the images that it knows are {words}, not the data set's: a wrong scaling factor",
            f"scale the data set's images, or ask the network at {undone} and {s:.3g} sigma and scale back its answer",
            scaled(ask, s, b),
        )  # fmt: skip


# Labels and guidance.


def one_hot(labels: Tensor) -> bool:
    """Whether each row is one class."""
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all())


def shifts(labels: Tensor) -> list[int]:
    """How far classes are shifted, in turn: all shifts, or those of one or two and some others."""
    K = labels.shape[1]
    if K <= SHIFTS:
        return list(range(1, K))
    near = [1, K - 1, 2, K - 2]
    return list(dict.fromkeys([*near, *torch.linspace(3, K - 3, SHIFTS - len(near)).long().tolist()]))


def classes(ask: Ask, trial: Trial) -> Iterator[Mistake]:
    """Its classes are counted from another one."""
    labels = trial.real.labels
    if labels is None or labels.shape[1] < 2 or not one_hot(labels):
        return
    where = range(len(trial.levels))[-3:]  # with little noise an image tells its class by itself
    costs = {k: trial.errors(ask, labels.roll(k, 1), where).mean(0) for k in [0, *shifts(labels)]}
    k = min(costs, key=lambda k: float(costs[k].mean()))
    gain = costs[0] - costs[k]
    if k and float(gain.mean()) > 3 * float(gain.std()) / math.sqrt(len(gain)):
        shift = k if 2 * k <= labels.shape[1] else k - labels.shape[1]
        rolled = labels.roll(k, 1)
        yield Mistake(
            "labels", f"its class of what the data set calls class i is i {shift:+d}: labels are off by {abs(shift)}",
            "count classes from where the network does: row 0 of its table may be that of no label",
            lambda x, sigma, given: ask(x, sigma, given if given is None else rolled if given is labels
                                        else given.roll(k, 1)),
        )  # fmt: skip


@frozen(eq=False)
class Weight:
    """How much of what a teacher adds is right: the w for which D_0 + w (D - D_0) is nearest to the images."""

    w: float
    sd: float

    @classmethod
    def of(cls, D: Sequence[Tensor], D_0: Sequence[Tensor], y: Tensor) -> Weight:
        """By least squares over all levels; of an honest D it is 1 whatever D_0 is."""
        added = [(one.double() - other.double()).flatten(1) for one, other in zip(D, D_0, strict=True)]
        wanted = [(y.double() - other.double()).flatten(1) for other in D_0]
        above = torch.stack([(one * other).sum(1) for one, other in zip(added, wanted, strict=True)]).sum(0)
        below = torch.stack([one.square().sum(1) for one in added]).sum(0)
        if not float(below.sum()):
            return cls(math.nan, math.inf)
        w = float(above.sum() / below.sum())
        return cls(w, float((above - w * below).square().sum().sqrt() / below.sum()))

    @property
    def guided(self) -> bool:
        """Whether it adds far more than is right."""
        return 0.05 < self.w and self.w + 3 * self.sd < 0.85


def weight(ask: Ask, trial: Trial) -> Weight:
    """What labels add, or, where there are none, what the image adds to the mean of all."""
    labels, where = trial.real.labels, range(len(trial.levels))[-3:]
    mean = trial.real.mean.expand_as(trial.real.y)
    D = [ask(trial.noisy[i], trial.levels[i], labels) for i in where]
    D_0 = [mean if labels is None else ask(trial.noisy[i], trial.levels[i], None) for i in where]
    return Weight.of(D, D_0, trial.real.y)


def guidance(ask: Ask, trial: Trial) -> Iterator[Mistake]:
    """It is guided already."""
    found, labels, mean = weight(ask, trial), trial.real.labels, trial.real.mean
    if not found.guided:
        return
    scale = 1 / found.w
    what = "what a label adds to its images" if labels is not None else "what it adds to the mean image"
    yield Mistake(
        "guidance", f"{what} is {scale:.3g} times what real images have: guidance of that scale is baked in",
        "take guidance out of the network and say it in [teacher_score.guidance]; beside that it would act twice",
        # In double precision, in which another mistake that was undone before may answer.
        lambda x, sigma, given: torch.lerp((ask(x, sigma, None) if labels is not None else mean.expand_as(x)).double(),
                                           ask(x, sigma, given).double(), found.w),
    )  # fmt: skip


# All of them.


def worst(ask: Ask, trial: Trial, network: object, but: set[str]) -> Mistake | None:
    """The mistake whose undoing helps most, of those that are none of `but`; None: none that counts."""
    labels = trial.real.labels
    before = trial.errors(ask, labels)
    found: list[Mistake] = []
    tried: dict[str, Callable[[], Iterator[Mistake]]] = {
        "scale": lambda: scales(ask, trial), "prediction": lambda: predictions(ask, network),
        "time reversed": lambda: times(ask, network), "labels": lambda: classes(ask, trial),
        "guidance": lambda: guidance(ask, trial),
    }  # fmt: skip
    enough = {"labels": 0.97, "guidance": 0.999}  # these two have a test of their own
    for name, candidates in tried.items():
        for one in candidates() if name not in but else ():
            ratio = trial.ratio(trial.errors(one.ask, labels), before)
            if ratio < enough.get(name, BETTER):
                found.append(Mistake(one.name, one.found, one.change, one.ask, ratio))
    return min(found, key=lambda one: one.ratio, default=None)
