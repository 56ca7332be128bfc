"""The recipes that a recipe needs: `from = "other.toml"` makes them a graph."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os.path import isfile
from pathlib import Path
from typing import cast

import attrs

from distillkit.api import Choice, TeacherScore, UsageError
from distillkit.recipe import shipped
from distillkit.recipe.layer import Layer, override
from distillkit.recipe.load import load
from distillkit.recipe.made_for import data_of
from distillkit.recipe.problem import Problem, RecipeProblems, key_text
from distillkit.recipe.read import read
from distillkit.recipe.schema import Recipe
from distillkit.recipe.shown import shown
from distillkit.registry import Catalog


def chain(
    path: Path | str, sets: Sequence[str] = (), catalog: Catalog | None = None, seed: int | None = None
) -> list[Recipe]:
    """The recipe and all it starts from, each once, parents first; the recipe asked for is the last.

    `sets` are for the recipe asked for alone, `seed` is for all. Raises RecipeProblems, and UsageError for a circle.
    """
    everywhere = () if seed is None else (f"run.seed={seed}",)
    found: dict[Path, Recipe] = {}
    _visit(Path(path), (*sets, *everywhere), everywhere, catalog or Catalog.installed(), (), found)
    return list(found.values())


def _visit(
    path: Path,
    sets: Sequence[str],
    everywhere: Sequence[str],
    catalog: Catalog,
    above: tuple[Path, ...],
    found: dict[Path, Recipe],
) -> None:
    real = Path(os.path.realpath(path))  # resolve() fails on a circle of links
    if real in above:
        names = [step.name for step in (*above[above.index(real) :], real)]
        raise UsageError(f"recipes start from each other in a circle: {' -> '.join(names)}")
    if real in found:
        return
    recipe = read(path, sets, catalog)
    for table, parent in recipe.start_paths.items():
        if not isfile(parent):
            file = recipe.starts_from[table]
            raise RecipeProblems(
                path, [_of_from(path, sets, table, f"no such file: {shown(file)}", shipped.near(file, path.parent))]
            )
        _visit(parent, everywhere, everywhere, catalog, (*above, real), found)
        theirs, ours = (data_of(one.dataset) for one in (found[Path(os.path.realpath(parent))], recipe))
        if not theirs.fits(ours):
            told = f"{parent.name} is a recipe of {theirs}, the data here are {ours}"
            raise RecipeProblems(path, [_of_from(path, sets, table, told)])
    found[real] = recipe


def inherited(path: Path, sets: Sequence[str] = ()) -> list[str]:
    """What to look at in a recipe that can be read: settings of the optimizer that were made for another method."""
    layer = layered(path, sets)
    lines = []
    for key, method in layer.foreign.items():
        value = layer.data["generator"]["optimizer"][key[-1]]
        origin = layer.origin(key)
        place = origin.file if origin.line is None else f"{origin.file}:{origin.line}"
        if method != layer.data["generator_loss"]["use"]:
            lines.append(f"{key_text(key)} = {shown(value)} is of a recipe of {method} ({place})")
    return lines


def checkpoint(recipe: Recipe, table: str) -> str | None:
    """What the network of [generator] or [teacher_score] is read from; None where it is made."""
    config = recipe.generator if table == "generator" else recipe.teacher_score and recipe.teacher_score.config
    return getattr(config, "checkpoint", None)


def with_checkpoint(recipe: Recipe, table: str, path: Path | str) -> Recipe:
    """The recipe with another file there: where `from` puts the result of its recipe, for example."""
    if table == "generator":
        return attrs.evolve(recipe, generator=attrs.evolve(recipe.generator, checkpoint=str(path)))
    assert recipe.teacher_score is not None
    return attrs.evolve(recipe, teacher_score=with_result(recipe.teacher_score, path))


def with_result(teacher: Choice[TeacherScore], path: Path | str) -> Choice[TeacherScore]:
    """The teacher by the network of a result, which says itself what network it is."""
    rest = {key: None for key in ("network", "weights", "prediction") if hasattr(teacher.config, key)}
    return attrs.evolve(teacher, config=attrs.evolve(teacher.config, checkpoint=str(path), **rest))


def layered(path: Path, sets: Sequence[str] = ()) -> Layer:
    """The tables of a recipe that can be read, with the place of every key."""
    layer = load(path)
    for text in sets:
        layer = cast(Layer, override(layer, text))  # `read` found no problem in it
    return layer


def _of_from(path: Path, sets: Sequence[str], table: str, message: str, hint: str = "") -> Problem:
    """What is wrong with the `from` of a table, at its line."""
    layer = layered(path, sets)
    at = layer.origin((table, "from"))
    return Problem(at.file, at.line, f"{table}.from", message, hint)
