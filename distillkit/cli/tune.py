"""`distillkit tune`: settings of a recipe by successive halving, tested with fresh seeds."""

from __future__ import annotations

import math
import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve
from rich.console import Console, JustifyMethod
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from distillkit.api import UsageError
from distillkit.cli import arguments, claim, study
from distillkit.cli.console import console
from distillkit.disk import files
from distillkit.recipe import read
from distillkit.recipe.layer import Layer, override
from distillkit.recipe.paths import named, spelt
from distillkit.recipe.schema import Recipe
from distillkit.recipe.write import tables, toml, value_text
from distillkit.registry import Catalog
from distillkit.show import formats
from distillkit.study import space, tell
from distillkit.study.tune import Trial, Tuning, tuned

SHOWN = 5  # trials of a rung


def add(parser: ArgumentParser) -> None:
    arguments.recipe(parser)
    parser.add_argument("--vary", action="append", default=[], metavar="KEY=LOW..HIGH",
                        help="what to tune, or KEY=A|B|C; may be repeated (rates, noise, EMA, batch)")  # fmt: skip
    parser.add_argument("--trials", type=arguments.whole(2, 1000), default=18, metavar="N", help="points (%(default)s)")
    parser.add_argument("--rungs", type=arguments.whole(1, 4), default=2, metavar="N",
                         help="each a third of the trials with three times the images (%(default)s)")  # fmt: skip
    parser.add_argument("--kimg", type=arguments.positive, metavar="K", help="of the last rung (the recipe's)")
    parser.add_argument("--metric", dest="metrics", action="append", default=[], metavar="NAME",
                        help="to be good at, such as frechet/fd (may be repeated; default: the first two)")  # fmt: skip
    parser.add_argument("--fresh-seeds", type=arguments.whole(2, 100), default=3, metavar="N",
                         help="that decide in the end (%(default)s)")  # fmt: skip
    parser.add_argument("--jobs", type=arguments.whole(1, 256), default=1, metavar="N",
                         help="runs at once, one thread each (%(default)s)")  # fmt: skip


def main(args: Namespace) -> int:
    """Tune -> exit code; prints the best setting's lines, and the verdicts on it."""
    recipe = read(args.recipe, args.sets, Catalog.installed())
    if not recipe.evaluate:
        raise UsageError(f"{args.recipe} has no [[evaluate]]: nothing says which settings are better")
    axes = space.asked(args.vary) or space.usual(tables(recipe))
    asked = Tuning(
        args.recipe.absolute(), re.sub(r"[^A-Za-z0-9_-]+", "-", args.recipe.stem).strip("-_")[:50] or "recipe",
        tuple(args.metrics), args.kimg or recipe.run.kimg, recipe.run.seed,
        len(recipe.evaluate), tuple(range(recipe.run.seed + 1, recipe.run.seed + 1 + args.fresh_seeds)),
    )  # fmt: skip
    asked = evolve(asked, set=from_there(recipe, args.sets, asked.folder(args.runs)))
    trials = different(args, recipe, space.points(axes, args.trials, recipe.run.seed), asked.folder(args.runs))
    out = console()
    plan(asked, axes, len(trials), args.rungs, out)

    def told(number: int, kimg: float, left: Sequence[Trial]) -> None:
        out.print(rung(number, kimg, left))

    won = tuned(asked, trials, args.rungs, args.runs, study.live, told, args.jobs)
    if won is None:
        print(f"none of {len(trials)} trials is better than {asked.name} as it is: it stays")
        return 0
    best, found = won
    path, lines = written(asked, best, args.runs)
    out.print(Padding(Text("the best settings, as lines of a recipe", "bold"), (1, 0, 0, 0)))
    out.print(Text(lines), soft_wrap=True)
    for metric in found.study.metrics:
        out.print(Padding(grid(*tell.curves(found, metric), justify="right"), (1, 0, 0, 0)))
    claim.tell_verdicts(found)
    print(f"recipe  {path}")
    return claim.ended(found)


def different(args: Namespace, recipe: Recipe, points: Sequence[tuple[str, ...]], folder: Path) -> list[Trial]:
    """The points as trials, without those that are the recipe as it is, or another one.

    Raises RecipeProblems for a key or value that cannot be, before anything runs; UsageError where none is left.
    """
    found: dict[str, tuple[str, ...]] = {}
    catalog = Catalog.installed()  # a look at all that is installed, once
    for point in points:
        made = read(args.recipe, [*args.sets, *point], catalog)
        found.setdefault(repr(tables(made)), from_there(made, point, folder))
    found.pop(repr(tables(recipe)), None)
    if not found:
        raise UsageError("every point is the recipe as it is: --vary has to give other values")
    return [Trial(f"trial {i}", point) for i, point in enumerate(found.values())]


def from_there(recipe: Recipe, sets: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Settings of the recipe for a file in `folder`: relative paths count from here, and are as seen from there."""
    keys, home = [text.partition("=")[0].strip() for text in sets], os.path.abspath(folder.parent.parent)
    files = {".".join(map(str, key)): text for key, (_, text) in named(recipe).items()}
    seen = [
        f"{key}={value_text(spelt(text, home, os.path.abspath(folder)))}"
        for key, text in files.items()
        if any(f"{key}.".startswith(f"{one}.") for one in keys)
    ]
    return (*sets, *seen)


def plan(asked: Tuning, axes: Sequence[space.Axis], trials: int, steps: int, out: Console) -> None:
    """What is tried, and how many images that takes."""
    out.print(grid(("key", "now", "tried"), [(one.key, one.now, one.told) for one in axes]))
    rungs = asked.rungs(trials, steps)
    kimg = sum((number + 1) * length for number, length in rungs) + 2 * len(asked.seeds) * asked.kimg
    told = ", ".join(f"{number} with {length:.3g} kimg" for number, length in rungs)
    print(f"trials: {told}; then {len(asked.seeds)} fresh seeds; {formats.number(kimg)} kimg in all", flush=True)


def rung(number: int, kimg: float, trials: Sequence[Trial]) -> Padding:
    """The best trials of a rung, with their metrics as multiples of those of the recipe as it is."""
    rows = [
        (one.label, f"{math.exp(one.score):.3f}" if math.isfinite(one.score) else "none", "  ".join(one.set))
        for one in trials[:SHOWN]
    ]
    more = [(f"and {len(trials) - SHOWN} more", "", "")] if len(trials) > SHOWN else []
    return Padding(grid((f"rung {number}", "metrics x", f"settings, {kimg:.3g} kimg"), [*rows, *more]), (1, 0, 0, 0))


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]], justify: JustifyMethod = "left") -> Table:
    made = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        made.add_column(head, overflow="fold", justify=justify)
    for row in rows:
        made.add_row(*row)
    return made


def written(asked: Tuning, best: Trial, runs: Path) -> tuple[Path, str]:
    """Write a recipe with the best settings over the tuned one -> where, and these lines."""
    path = asked.folder(runs) / "tuned.toml"
    head = toml({"schema": 1, "extends": asked.named(runs)})
    files.write_atomic(path, f"{head}\n{toml(over((*asked.set, *best.set)))}".encode())
    return path, toml(over(best.set)).strip()


def over(sets: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts, which were read once already, as tables of a recipe."""
    layer = Layer({})
    for text in sets:
        made = override(layer, text)
        layer = made if isinstance(made, Layer) else layer
    return layer.data
