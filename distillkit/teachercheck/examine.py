"""The whole examination: what a teacher makes of real images, whether a usual mistake explains it, what it draws."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from attrs import define, field
from torch import Tensor

from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.teachercheck import behaviour, draw, mistakes
from distillkit.teachercheck.asked import Ask, Once, Real, Teacher, Trial, ends, levels
from distillkit.teachercheck.mistakes import Mistake
from distillkit.teachercheck.ready import ready
from distillkit.teachercheck.report import Finding, Report
from distillkit.teachercheck.weight import mixed_up, weight
from distillkit.train.state import State

SIGMA_INIT = 2.5  # where a student draws a whole image in one call (arXiv:2404.04057)


def examine(recipe: Recipe, catalog: Catalog, *, images: int | None = None, picture: Path | None = None) -> Report:
    """Judge the teacher of a recipe on `images` real ones (None: as many as a steady mean takes).

    Guidance is left out, and only drawn with. Raises UsageError and InputError as a run would.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of levels beyond its own, which the report tells
        return Examination.of(recipe, catalog, images).report(picture)


@define(eq=False)
class Examination:
    """A teacher under examination."""

    recipe: Recipe
    catalog: Catalog
    state: State
    real: Real
    teacher: Teacher
    notes: dict[str, str] = field(factory=dict)
    numbers: dict[str, Any] = field(factory=dict)

    @classmethod
    def of(cls, recipe: Recipe, catalog: Catalog, images: int | None) -> Examination:
        state = ready(recipe, catalog)
        return cls(recipe, catalog, state, Real.of(state, images), Teacher(state))

    @property
    def network(self) -> object:
        """What the teacher computes with; None: it is in closed form."""
        return self.state.teacher and self.state.teacher.network

    @property
    def own(self) -> tuple[float, float]:
        """The noise levels that the teacher was made for."""
        return self.state.teacher_score.sigma_min, self.state.teacher_score.sigma_max

    def report(self, picture: Path | None) -> Report:
        """Examine everything."""
        asked = ends(self.recipe)
        table = list(behaviour.measured(self.teacher, self.real, levels(*asked)))
        found = [*behaviour.finite(table), *behaviour.steady(self.teacher, self.real, self.network)]
        undone: Ask = self.teacher
        if not found:
            trial = Trial.of(self.real, *self.own)
            causes, undone = self.explained(trial)
            found += [Finding(name=one.name, found=one.found, change=one.change, gain=1 / max(one.ratio, 1e-9))
                      for one in causes]  # fmt: skip
            if mixed := mixed_up(undone, trial):
                found.append(mixed)
            else:
                again = list(behaviour.measured(undone, self.real, levels(*asked))) if causes else table
                found += behaviour.useful(again, self.own, besides=bool(causes))
            self.see_labels(undone, trial)
        self.see_ends(asked)
        if picture is not None:
            self.draw(picture, undone, found)
        return Report(
            recipe=self.recipe.name, teacher=self.recipe.teacher_score.name if self.recipe.teacher_score else "",
            findings=tuple(found), levels=tuple(table), notes=self.notes, numbers=self.numbers,
            images=len(self.real.y), calls=self.teacher.calls, picture=None if picture is None else str(picture),
        )  # fmt: skip

    def explained(self, trial: Trial) -> tuple[list[Mistake], Ask]:
        """The usual mistakes that are there, the one whose undoing helps most first, and the teacher without them."""
        found: list[Mistake] = []
        ask: Ask = Once(self.teacher)
        done: set[str] = set()
        while one := mistakes.worst(ask, trial, self.network, done):
            found.append(one)
            ask = Once(one.ask)
            done |= mistakes.READINGS if one.name in mistakes.READINGS else {one.name}
        return found, ask

    def see_labels(self, ask: Ask, trial: Trial) -> None:
        """Note what labels add, and how right that is."""
        labels, where = self.real.labels, [len(trial.levels) - 2]
        if labels is None:
            self.notes["labels"] = "there are none"
        else:
            of = {"right": labels, "wrong": labels.roll(1, 0), "none": None}
            numbers = {name: float(trial.errors(ask, one, where).mean()) for name, one in of.items()}
            self.numbers["labels"] = numbers
            told = ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())
            self.notes["labels"] = f"error with the label that is {told}, at sigma {trial.levels[where[0]]:.3g}"
        found = weight(ask, trial)
        if found.sd < 1:
            self.numbers["weight"] = {"w": found.w, "sd": found.sd}
            what = "labels add" if labels is not None else "it adds to the mean"
            self.notes["contrast"] = f"{found.w:.2f} +- {found.sd:.2f} of what {what} is right; guided: 1 / scale"

    def see_ends(self, asked: tuple[float, float]) -> None:
        """Note what it was trained on and what is asked."""
        (low, high), (first, last) = self.own, asked
        self.numbers |= {"asked": [first, last], "trained": [low, high]}
        beyond = first < low * (1 - 1e-6) or last > high * (1 + 1e-6)
        self.notes["schedule"] = f"made for sigma {low:.3g} ... {high:.3g}, asked at {first:.3g} ... {last:.3g}" + (
            ": beyond its own, the nearest that it knows answers" if beyond else ""
        )

    def draw(self, picture: Path, undone: Ask, found: list[Finding]) -> None:
        """Write the sheet, and note the size of what it draws."""
        real, ask, mine = self.real, self.teacher, draw.first(self.real)
        z, labels = draw.starts(real)
        sigma = min(max(real.std, self.own[0]), self.own[1])
        x = real.noisy(sigma, "draw")[mine]
        start = min(max(SIGMA_INIT, self.own[0]), self.own[1])
        rows = {"real": real.y[mine], f"+ noise {sigma:.2g}": x, "denoised": ask(x, sigma, labels)}
        rows["1 step"] = ask(start * z, start, labels)
        rows["18 steps"] = drawn = draw.heun(ask, z, labels, *self.own)
        if undone is not ask and found:
            rows["undone"] = draw.heun(undone, z, labels, *self.own)
        if self.recipe.teacher_score and self.recipe.teacher_score.slot.guidance:
            guided = Teacher(ready(self.recipe, self.catalog, guided=True))
            rows["guided"] = draw.heun(guided, z, labels, *self.own)
            self.notes["guidance"] = "of the recipe: in the last row of the picture alone, all else is without"
        draw.sheet(picture, rows, self.state.dataset, f"{self.recipe.name}   teacher")
        self.notes["images"] = f"{told(real.y)}; drawn {told(drawn)}"
        self.numbers["images"] = {"real": sizes(real.y), "drawn": sizes(drawn)}


def sizes(x: Tensor) -> dict[str, float]:
    """Least, largest, mean and standard deviation of all values."""
    x = x.double()
    std, mean = torch.std_mean(x)
    return {"min": float(x.min()), "max": float(x.max()), "mean": float(mean), "std": float(std)}


def told(x: Tensor) -> str:
    """The same in words."""
    size = sizes(x)
    return f"{size['min']:.2f} ... {size['max']:.2f}, mean {size['mean']:.2f}, std {size['std']:.2f}"
