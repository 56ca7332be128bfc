"""The usual mistakes, each as what undoes it: if the teacher denoises better so asked, that is its mistake.

The mean squared error has one minimum, E[y | x]: a right teacher only gets worse by any of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from attrs import evolve, frozen
from torch import Tensor

from distillkit.convert import PREDICTIONS, Edm, Flow, Schedule, Table, Vp
from distillkit.convert.predictions import coefficients
from distillkit.teachercheck.asked import Ask, Once, Trial, geometric
from distillkit.teachercheck.weight import one_hot, strangers, weight

BETTER = 0.8  # errors of those asked as it is, at most, for a mistake to be called one
NOWHERE_WORSE = 1.1  # ratio of errors at any level, at most
LOST, DENOISES = 1.05, 0.9  # errors in those of who knows nothing with it undone: at any level, and on average
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
                        f'prediction = "{real}", in the recipe or where the network is wrapped',
                        reread(ask, schedule, read, real),
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
                    ("tell the network T - 1 - t where it is told t now" if isinstance(schedule, Table)
                     else "turn reversed_time over, where there is such a key; else tell the network 1 - t")
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


def scales(ask: Ask, trial: Trial, labels: Tensor | None) -> Iterator[Mistake]:
    """The images that it knows are larger or smaller than the data set's; asked with `labels`."""
    middle = [len(trial.levels) // 2]

    def cost(s: float, b: float, where: Sequence[int] | None) -> float:
        errors = trial.errors(scaled(ask, s, b), labels, where)
        return geometric(trial.ratios(errors, torch.full_like(errors, trial.real.spread), where))

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
        rolled = labels.roll(k, 1)

        def asked(x: Tensor, sigma: float, given: Tensor | None) -> Tensor:
            return ask(x, sigma, rolled if given is labels else None if given is None else given.roll(k, 1))

        if strangers(weight(asked, trial), labels):
            return  # right for some of them: they are in another order
        shift = k if 2 * k <= labels.shape[1] else k - labels.shape[1]
        yield Mistake(
            "labels", f"its class of what the data set calls class i is i {shift:+d}: labels are off by {abs(shift)}",
            "count classes from where the network does: row 0 of its table may be that of no label", asked,
        )  # fmt: skip


def guidance(ask: Ask, trial: Trial) -> Iterator[Mistake]:
    """It is guided already."""
    found, labels, mean = weight(ask, trial), trial.real.labels, trial.real.mean
    if not found.guided or (labels is not None and strangers(found, labels)):
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
    # Where it is worse than nothing its labels may be to blame, and hide what else is: then it is asked without, too.
    lost = labels is not None and float(trial.shares(before).max()) > 1
    for given in (labels, None) if lost else (labels,):
        tried = {
            "scale": scales(ask, trial, given), "prediction": predictions(ask, network),
            "time reversed": times(ask, network),
        }  # fmt: skip
        without = trial.errors(ask, given)
        for one in chain.from_iterable(candidates for name, candidates in tried.items() if name not in but):
            errors = trial.errors(one.ask, given)
            shares, ratio = trial.shares(errors), helped(trial, errors, without)
            if ratio < BETTER and float(shares.max()) < LOST and geometric(shares) < DENOISES:
                found.append(evolve(one, ratio=ratio))
    for one in (*classes(ask, trial), *guidance(ask, trial)):  # each has found that it counts
        ratio = helped(trial, trial.errors(one.ask, labels), before)
        if one.name not in but and ratio < 1:
            found.append(evolve(one, ratio=ratio))
    return min(found, key=lambda one: one.ratio, default=None)


def helped(trial: Trial, errors: Tensor, before: Tensor) -> float:
    """The mean ratio of errors; infinite where it is worse at any level, as undoing a mistake never is."""
    ratios = trial.ratios(errors, before)
    return geometric(ratios) if float(ratios.max()) < NOWHERE_WORSE else math.inf
