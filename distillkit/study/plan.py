"""STUDY.toml -> Study: strict like a recipe, every problem with its line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from attrs import Factory, asdict, field, frozen
from attrs.validators import and_, ge, gt, in_, lt, matches_re, min_len, optional

from distillkit.disk import files
from distillkit.recipe import shipped
from distillkit.recipe.load import load
from distillkit.recipe.problem import Problem, RecipeProblems, Report, key_text
from distillkit.recipe.read import of_file
from distillkit.recipe.structure import converter
from distillkit.recipe.values import Misfit
from distillkit.registry import Catalog
from distillkit.study.claim import Claim

LABEL = matches_re(r"[^|\n]{1,80}")
RECIPE = matches_re(r".+\.toml|[A-Za-z0-9_]+")  # a path, or a shipped recipe's name
MOST = 1000  # cells


@frozen(kw_only=True)
class Option:
    """[[vary.AXIS]]: one choice on that axis; a cell has one of each axis, and one of those names its recipe."""

    label: str = field(validator=LABEL)
    recipe: str | None = field(default=None, validator=optional(RECIPE))  # relative to the study
    set: tuple[str, ...] = ()  # "generator_loss.alpha=1.2"; as --set


@frozen(kw_only=True)
class Cell:
    """[[cell]]: one recipe with its settings; it runs once for each seed."""

    recipe: str = field(validator=RECIPE)  # relative to the study
    label: str = field(default=Factory(lambda self: Path(self.recipe).stem, takes_self=True), validator=LABEL)
    set: tuple[str, ...] = ()


@frozen(kw_only=True)
class Tables:
    """What a study's file holds."""

    schema: int = field(validator=in_((1,)))
    name: str = field(validator=matches_re(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"))
    seeds: tuple[int, ...] = field(validator=min_len(1))
    set: tuple[str, ...] = ()  # for every cell, below its own
    teacher_seeds: bool = False  # do the recipes that a cell builds on get its seed too?
    vary: dict[str, tuple[Option, ...]] = field(factory=dict)  # axes; what makes a row is before what makes a column
    cell: tuple[Cell, ...] = ()  # beside those that the axes make
    baseline: str | None = None  # label of a cell, for those outside the axes; None: the first
    metrics: tuple[str, ...] = ()  # with curves; (): the first two
    within: float = field(default=0.05, validator=and_(ge(0), lt(1)))
    claim: tuple[Claim, ...] = ()  # what is tested: study --claim
    looks: tuple[int, ...] = ()  # after so many seeds the claims are tested, and all decided ends it; (): after all
    core_hours: float | None = field(default=None, validator=optional(gt(0)))  # of training; beyond, no seed begins


@frozen(kw_only=True)
class Study(Tables):
    """A study; `cell` holds those of the axes too, before the others."""

    path: Path
    declared: str = ""  # digest of all that the file says

    def rows(self) -> dict[str, dict[str, str]]:
        """Labels of the cells of the axes: by all options but that of the last axis, then by that one."""
        found: dict[str, dict[str, str]] = {}
        for options in product(*self.vary.values()) if self.vary else ():
            *row, column = (option.label for option in options)
            found.setdefault(", ".join(row), {})[column] = _label(options)
        return found

    def pairs(self, claim: Claim) -> Iterator[tuple[str, str, str]]:
        """Row ("" for cells), cell of the arm and of the other: each pair that a claim is about."""
        labels, base = {cell.label for cell in self.cell}, claim.against
        if claim.arm in labels and (base is None or base in labels):
            yield "", claim.arm, base or self.baseline or self.cell[0].label
            return
        for name, columns in self.rows().items():
            other = base or next(iter(columns))
            if claim.arm in columns and other in columns:
                yield name, columns[claim.arm], columns[other]


def read(path: Path, catalog: Catalog) -> Study:
    """Read a study file. Raises RecipeProblems with all problems at once."""
    layer, problems = load(shipped.asked(str(path))), []
    for key in sorted({"run", "generator_loss", "dataset"} & layer.data.keys()):
        wrong = f"it has [{key}]: this is a recipe, not a study"
        raise RecipeProblems(path, [Problem(path.name, None, "", wrong, f"distillkit run {path}")])

    def report(key: Any, message: str, hint: str = "") -> None:
        origin = layer.origin(key)
        problems.append(Problem(origin.file, origin.line, key_text(key), message, hint))

    try:
        tables = converter(catalog).structure(layer.data, Tables)
    except Misfit as misfit:
        for told in of_file(misfit, layer.data, Tables):
            report(*told)
        raise RecipeProblems(path, problems) from None
    made = _cells(tables, report) if tables.vary else []
    declared = files.check_of(layer.data)
    study = Study(path=path, declared=declared, **{**asdict(tables, recurse=False), "cell": (*made, *tables.cell)})
    _check(study, report)
    if problems:
        raise RecipeProblems(path, problems)
    return study


def _cells(tables: Tables, report: Report) -> list[Cell]:
    """Combine the options of the axes: a cell for each combination."""
    number = math.prod(map(len, tables.vary.values()))
    naming = [axis for axis, options in tables.vary.items() if any(option.recipe for option in options)]
    if not 0 < number <= MOST:
        report(("vary",), f"the axes make {number} cells, 1 to {MOST} are allowed", "")
    elif len(naming) != 1 or not all(option.recipe for option in tables.vary[naming[0]]):
        told = f"recipes are named by {', '.join(naming)}" if naming else "no option names a recipe"
        report(("vary",), told, "one axis names them, in each of its options")
    else:
        return [_cell(options) for options in product(*tables.vary.values())]
    return []


def _cell(options: tuple[Option, ...]) -> Cell:
    sets = tuple(text for option in options for text in option.set)
    return Cell(label=_label(options), recipe=next(filter(None, (option.recipe for option in options))), set=sets)


def _label(options: tuple[Option, ...]) -> str:
    return ", ".join(option.label for option in options)


def _check(study: Study, report: Report) -> None:
    """Report what does not hold between the keys."""
    labels = [cell.label for cell in study.cell]
    if not labels and not study.vary:
        report(("cell",), "no cell at all", "write [[cell]] tables, or [[vary.AXIS]] tables for axes")
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        report(("cell",), f"two cells are called {label!r}", "give each a label of its own")
    for recipe in dict.fromkeys(cell.recipe for cell in study.cell):
        if not shipped.path_of(recipe, study.path.parent).is_file():
            report(("cell",), f"no such recipe: {recipe[:80]!r}", "names are relative to the study")
    if len(set(study.seeds)) < len(study.seeds) or not all(0 <= seed < 2**32 for seed in study.seeds):
        report(("seeds",), f"must be different whole numbers from 0 to 2**32 - 1, got {list(study.seeds)}", "")
    if study.baseline is not None and labels and study.baseline not in labels:
        report(("baseline",), f"no cell is called {study.baseline!r}", f"cells: {', '.join(labels)}")
    _check_claims(study, labels, report)


def _check_claims(study: Study, labels: Sequence[str], report: Report) -> None:
    """Report claims of what is not there, and looks that are no growing numbers of seeds."""
    for i, claim in enumerate(study.claim):
        if not [*study.pairs(claim)]:
            known = ", ".join(dict.fromkeys([*(column for row in study.rows().values() for column in row), *labels]))
            told = f"{claim.arm!r} and {claim.against!r} are" if claim.against else f"{claim.arm!r} is"
            report(("claim", i), f"{told} in no row and no cell", f"options and cells: {known}"[:300])
        elif any(arm == other for _, arm, other in study.pairs(claim)):
            report(("claim", i), f"{claim.arm!r} is compared with itself", "against says with what else")
    if study.claim and len(study.seeds) < 2:
        report(("seeds",), "one seed decides no claim", "two or more; five say much more")
    looks = study.looks
    if looks and (list(looks) != sorted({*looks}) or looks[0] < 2 or looks[-1] != len(study.seeds)):
        told = f"must grow from 2 or more to the number of seeds, {len(study.seeds)}, got {list(looks)}"
        report(("looks",), told, "the claims are tested after so many seeds")
    for key in ("looks", "core_hours"):
        if getattr(study, key) and not study.claim:
            report((key,), "has no meaning without a [[claim]]", "")
