"""Metrics and pictures of a run, from the averaged generator."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from distillkit.api import Dataset, Evaluate, PluginError
from distillkit.disk.rundir import RunDir
from distillkit.evaluate.draw import Drawer, untold
from distillkit.images import pictures
from distillkit.show import formats
from distillkit.show.screen import Bar, Screen
from distillkit.train.state import Part, State

COLUMNS = 10
SLOW = 30.0  # seconds: an evaluation that takes longer says so
Failed = Callable[[str, Exception], None]  # what failed, and why


def evaluate(draw: Drawer, parts: list[Part], screen: Screen, failed: Failed | None = None) -> dict[str, float]:
    """Metrics by "<component>/<name>" of the given evaluate components.

    With `failed`, it is told of a component that raises, and the others' numbers are returned.
    """
    found: dict[str, float] = {}
    for part in parts:
        with screen.progress(f"evaluating {part.name}", None, "img") as bar:
            draw.told = made = _Made(bar)
            try:
                found |= measured(part, draw)
            except Exception as error:
                if failed is None:
                    raise
                failed(f"evaluate {part.name!r}", error)
            finally:
                draw.told = untold
        if (took := time.perf_counter() - made.start) > SLOW:
            rate = formats.rate(made.images / took)
            screen.line(f"evaluated {part.name}: {made.images:,} images in {formats.duration(took)}, {rate} img/s")
    return found


class _Made:
    """Counts images that were made, on a bar too."""

    def __init__(self, bar: Bar) -> None:
        self.bar, self.images, self.start = bar, 0, time.perf_counter()

    def __call__(self, images: int) -> None:
        self.images += images
        self.bar.advance(images)


def measured(part: Part, draw: Drawer) -> dict[str, float]:
    """The metrics of one component. Raises PluginError for what is no number."""
    found: dict[str, float] = {}
    for metrics in part.call(state=draw.state, draw=draw):
        if not isinstance(metrics, dict):
            raise PluginError(f"evaluate {part.name!r} returned {str(metrics)[:60]}, expected {{name: number}}")
        found |= {f"{part.name}/{name}": checked(part.name, name, value) for name, value in metrics.items()}
    return found


def checked(component: str, name: str, value: float) -> float:
    if not isinstance(value, float | int) or isinstance(value, bool):
        raise PluginError(f"evaluate {component!r} returned {name} = {repr(value)[:60]}, expected a number")
    return float(value)


def components(state: State) -> dict[str, Evaluate]:
    """The evaluate components by the names that their metrics have before the slash."""
    return {part.name: cast(Evaluate, state.components[f"evaluate.{i}"]) for i, part in enumerate(state.evaluators)}


def better(state: State, metrics: Iterable[str]) -> dict[str, str]:
    """Which way each of `metrics`, "<component>/<name>", improves, where its component tells."""
    parts = components(state)
    told = {metric: parts[metric.partition("/")[0]].direction(metric.partition("/")[2]) for metric in metrics}
    return {metric: way for metric, way in told.items() if way}


def told(state: State) -> dict[str, dict[str, dict[str, str]]]:
    """Which way metrics improve and what they mean, by component, with patterns of names as these tell them."""
    return {
        name: {"better": dict(part.better), "means": dict(part.means)}
        for name, part in components(state).items() if part.better or part.means
    }  # fmt: skip


def remarks(state: State, metrics: Mapping[str, float], screen: Screen) -> list[str]:
    """What the evaluate components say of the student's `metrics`, also shown."""
    told = []
    for name, part in components(state).items():
        own = {key.removeprefix(f"{name}/"): value for key, value in metrics.items() if key.startswith(f"{name}/")}
        if own:
            told += [f"{name}: {text}" for text in part.remarks(own)]
    for text in told:
        screen.warn(text)
    return told


def protocols(state: State) -> dict[str, dict[str, str]]:
    """What each evaluate component says of its numbers, by its name."""
    found = {name: part.protocol for name, part in components(state).items()}
    return {name: {str(k): str(v) for k, v in value.items()} for name, value in found.items() if value}


def one_step(state: State, parts: list[Part], screen: Screen, failed: Failed) -> dict[str, float]:
    """Measure the untouched teacher by the student's sampler: of each part one metric, a distance where it has one."""
    figures, state.figures = state.figures, None  # they show the student
    try:
        found = evaluate(Drawer.untouched(state), parts, screen, failed)
    finally:
        state.figures = figures
    told = better(state, found)
    chosen: dict[str, str] = {}  # by component
    for way in ("lower", "higher"):
        for metric in (metric for metric in found if told.get(metric) == way):
            chosen.setdefault(metric.partition("/")[0], metric)
    return {metric: found[metric] for metric in chosen.values()}


def due(state: State, finished: bool) -> list[Part]:
    """List the evaluate components whose turn it is; all of them when `finished`."""
    return [part for part in state.evaluators if finished or crossed(state, part.slot.every_kimg)]


def crossed(state: State, every_kimg: float | None) -> bool:
    """Whether the last iteration passed a multiple of so many kimg."""
    if every_kimg is None:
        return False
    every = every_kimg * 1000
    return math.floor(state.nimg / every) > math.floor((state.nimg - state.batch) / every)


def column_names(state: State) -> list[str] | None:
    """Name the columns of a grid: classes, or prompts, take turns, so each is one of them if there are ten at most.

    None: it is not.
    """
    prompts, dim = state.dataset.prompts, state.dataset.label_dim
    if prompts is not None:
        return pictures.told_apart(prompts.words) if 2 <= len(prompts.words) <= COLUMNS else None
    if not 2 <= dim <= COLUMNS:
        return None
    return list(state.dataset.class_names or [str(i) for i in range(dim)])


def real_images(state: State, n: int) -> Tensor:
    """Real images [n,C,H,W] whose classes take turns like the generated ones'; black for a class without images."""
    index = torch.arange(len(state.dataset))
    by_class = _by_turns(state.dataset, index)
    if by_class is None:
        return state.dataset.pixels(index[:n])
    picked = [(i // len(by_class), by_class[i % len(by_class)]) for i in range(n)]
    x = state.dataset.pixels(torch.stack([rows[k % len(rows)] if len(rows) else index[0] for k, rows in picked]))
    empty = torch.tensor([len(rows) == 0 for _, rows in picked]).view(-1, 1, 1, 1)
    return x.masked_fill(empty.to(x.device), -1)


def _by_turns(dataset: Dataset, index: Tensor) -> list[Tensor] | None:
    """Which images are of each class or prompt, in their turns; None: there are no turns, or nobody can tell."""
    if (prompts := dataset.prompts) is not None:
        words = dataset.words(index)
        if words is None:
            return None
        return [index[torch.tensor([one == word for one in words])] for word in prompts.words]
    labels = dataset.labels(index)
    return None if labels is None else [index[labels.argmax(1) == c] for c in range(labels.shape[1])]


def write_grid(state: State, run: RunDir, draw: Drawer) -> Path:
    """Draw the images of fixed seeds at this point of the run -> the picture."""
    names = column_names(state)
    columns = len(names) if names else COLUMNS
    path = run.samples / f"kimg-{state.nimg / 1000:010.3f}.png"
    real = real_images(state, 1000) if state.dataset.shape[1:] == (1, 1) else None
    title = f"{run.info['recipe']}   {state.nimg / 1000:g} kimg   NFE {draw.nfe}"
    x = draw(state.recipe.run.grid).x
    return pictures.grid(x, path, columns=columns, labels=names, title=title, real=real)


def write_comparison(state: State, run: RunDir, teacher: Drawer | None) -> Path:
    """Draw real images, the teacher's and the student's below each other -> the picture."""
    n = 3 * COLUMNS if state.dataset.shape[1:] != (1, 1) else 1000
    student = Drawer.student(state)
    rows = {"real": real_images(state, n)}
    if teacher is not None:
        rows[f"teacher, NFE {teacher.nfe}"] = teacher(n).x
    rows[f"student, NFE {student.nfe}"] = student(n).x
    return pictures.side_by_side(rows, run.samples / "comparison.png", column_names(state))
