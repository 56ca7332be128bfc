"""STUDY.toml -> Study: strict like a recipe, every problem with its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, field, frozen
from attrs.validators import and_, ge, in_, lt, matches_re, min_len, optional
from cattrs import ClassValidationError

from distillkit.recipe.complaints import complaints
from distillkit.recipe.load import load
from distillkit.recipe.problem import Key, Problem, RecipeProblems, key_text
from distillkit.recipe.structure import converter
from distillkit.registry import Catalog


@frozen(kw_only=True)
class Cell:
    """[[cell]]: one recipe with its settings; it runs once for each seed."""

    recipe: str = field(validator=matches_re(r".+\.toml"))  # relative to the study
    label: str | None = field(default=None, validator=optional(matches_re(r"[^|\n]{1,80}")))  # none: from the others
    set: tuple[str, ...] = ()  # "generator_loss.alpha=1.2"; as --set


@frozen(kw_only=True)
class Grid:
    """[grid]: every recipe with every list of settings."""

    recipes: tuple[str, ...] = field(validator=min_len(1))
    sets: tuple[tuple[str, ...], ...] = field(default=((),), validator=min_len(1))


@frozen(kw_only=True)
class Tables:
    """What a study's file holds."""

    schema: int = field(validator=in_((1,)))
    name: str = field(validator=matches_re(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"))
    seeds: tuple[int, ...] = field(validator=min_len(1))
    set: tuple[str, ...] = ()  # for every cell, below its own
    teacher_seeds: bool = False  # do the recipes that a cell builds on get its seed too?
    cell: tuple[Cell, ...] = ()
    grid: Grid | None = None
    baseline: str | None = None  # label of a cell; none: the first
    metrics: tuple[str, ...] = ()  # with curves; none: the first two
    within: float = field(default=0.05, validator=and_(ge(0), lt(1)))


@frozen(kw_only=True)
class Study(Tables):
    """A study; `cell` holds those of the grid too, and every cell has a label of its own."""

    path: Path


def read(path: Path, catalog: Catalog) -> Study:
    """Raises RecipeProblems with all problems at once."""
    layer, problems = load(path), []

    def report(key: Key, message: str, hint: str = "") -> None:
        origin = layer.origin(key)
        problems.append(Problem(origin.file, origin.line, key_text(key), message, hint))

    try:
        tables = converter(catalog).structure(layer.data, Tables)
    except ClassValidationError as error:
        for told in complaints(error, root=layer.data):
            report(*told)
        raise RecipeProblems(path, problems) from None
    study = Study(path=path, **{**asdict(tables, recurse=False), "cell": _cells(tables)})
    _check(study, report)
    if problems:
        raise RecipeProblems(path, problems)
    return study


def _cells(tables: Tables) -> tuple[Cell, ...]:
    grid = tables.grid
    made = [] if grid is None else [Cell(recipe=recipe, set=sets) for recipe in grid.recipes for sets in grid.sets]
    cells = (*tables.cell, *made)
    short, long = ([cell.label or _label(cell, full) for cell in cells] for full in (False, True))
    return tuple(evolve(cell, label=one) for cell, one in zip(cells, short if _distinct(short) else long, strict=True))


def _label(cell: Cell, full: bool) -> str:
    """ "digits_sid alpha=1.2", or with the full keys."""
    sets = [text if full else text.partition("=")[0].rpartition(".")[2] + text[text.find("=") :] for text in cell.set]
    return " ".join([Path(cell.recipe).stem, *sets]).replace("|", "/")[:80]


def _distinct(labels: Sequence[str]) -> bool:
    return len(set(labels)) == len(labels)


def _check(study: Study, report: Any) -> None:
    """What must hold between the keys."""
    labels = [str(cell.label) for cell in study.cell]
    if not labels:
        report(("cell",), "no cell at all", "write [[cell]] tables or a [grid]")
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        report(("cell",), f"two cells are called {label!r}", "give each a label of its own")
    for recipe in dict.fromkeys(cell.recipe for cell in study.cell):
        if not (study.path.parent / recipe).is_file():
            report(("cell",), f"no such recipe: {recipe[:80]!r}", "names are relative to the study")
    if len(set(study.seeds)) < len(study.seeds) or not all(0 <= seed < 2**32 for seed in study.seeds):
        report(("seeds",), f"must be different whole numbers from 0 to 2**32 - 1, got {list(study.seeds)}")
    if study.baseline is not None and study.baseline not in labels:
        report(("baseline",), f"no cell is called {study.baseline!r}", f"cells: {', '.join(labels)}")
