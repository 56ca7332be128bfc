"""`distillkit check`: whether a run can begin, and what it would do, lack or refuse; nothing is run."""

from __future__ import annotations

import re
import sys
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.syntax import Syntax
from rich.text import Text

from distillkit.api import InputError, UsageError
from distillkit.cli import arguments, screen
from distillkit.cli.console import console
from distillkit.recipe import shipped
from distillkit.registry import Catalog
from distillkit.show import formats

if TYPE_CHECKING:
    from distillkit.plan.stages import Stage


def add(parser: ArgumentParser) -> None:
    arguments.recipe(parser, number="+")
    parser.add_argument("--full", action="store_true", help="also the recipe with every default filled in")
    parser.add_argument("--toml", action="store_true", help="print the resolved recipe only, as TOML")


def main(args: Namespace) -> int:
    """Show the verdict and the plan; of several, and of studies, only what is wrong -> exit code."""
    from distillkit.recipe.load import load

    (first, *others) = args.recipe
    if not others and not _is_study(load(first).data):
        return _show(first, args)
    if args.toml:
        raise UsageError("--toml prints one recipe; name one, and no study")
    catalog = Catalog.installed()
    return max(_valid(path, args.sets, catalog) for path in args.recipe)


def _is_study(data: Mapping[str, Any]) -> bool:
    return "seeds" in data


def _valid(path: Path, sets: Sequence[str], catalog: Catalog) -> int:
    """Say that a recipe or study is valid, or all that is wrong with it -> exit code."""
    from attrs import evolve

    from distillkit.recipe.load import load
    from distillkit.run.nodes import graph  # torch comes with it
    from distillkit.run.refuse import refuse
    from distillkit.study import jobs, read

    try:
        if _is_study(load(path).data):
            study = read(path, catalog)
            print(f"valid  {shipped.told(path)}  {len(jobs(evolve(study, set=(*study.set, *sets)), catalog))} runs")
        else:
            nodes = graph(path, sets, catalog, None)
            refuse(nodes, [None] * len(nodes), sets, catalog)
            print(f"valid  {shipped.told(path)}")
            _tell_inherited(path, sets)
    except (UsageError, InputError) as error:
        print(str(error), file=sys.stderr)
        return error.exit_code
    return 0


def _tell_inherited(path: Path, sets: Sequence[str]) -> None:
    """No error: a recipe may well mean what it inherits, but nobody sees that it does."""
    from distillkit.recipe import inherited

    if lines := inherited(path, sets):
        print(f"\nInherited by {shipped.told(path)} from a recipe of another method; check that they are meant:")
        print("\n".join(f"  {line}" for line in lines))


def _show(path: Path, args: Namespace) -> int:
    from distillkit.assets.folder import folder
    from distillkit.assets.locate import require
    from distillkit.disk import rundir
    from distillkit.recipe import to_toml
    from distillkit.run import lookup
    from distillkit.run.nodes import graph

    catalog = Catalog.installed()
    nodes = graph(path, args.sets, catalog, None, runs=args.runs)
    text = to_toml(nodes[-1].recipe, made_with=nodes[-1].versions)
    if args.toml:
        print(text, end="")
        return 0
    live, known, out = screen.choose(), rundir.known(args.runs), console()
    found = lookup.plan(nodes, known)
    with live.progress("importing torch, trying the recipe without numbers", None, ""):
        from distillkit.plan.stages import stages
        from distillkit.run.refuse import refuse

        untried = refuse(nodes, [one.run for one in found], args.sets, catalog)
        counted = stages(path, args.sets, args.runs, catalog)
    fits = _fits(counted)
    out.print(Text(_verdict(counted, fits, as_it_is=not args.sets), "bold"), soft_wrap=True)
    print()
    rows = [row | {"takes": _takes(stage)} for row, stage in zip(lookup.rows(nodes, found), counted, strict=True)]
    live.plan(rows)
    print("\n" + "\n".join(textwrap.wrap(fits, out.width, break_long_words=False, break_on_hyphens=False)))
    print("tried without numbers, and nothing was run; --full shows every default")
    for line in untried:
        print(f"not tried, for it needs numbers: {line}")
    for line in lookup.remarks(nodes, found):
        live.warn(line)
    for line in lookup.shorter(nodes[-1], known) if found[-1].run is None else ():
        live.line(line)
    _tell_inherited(path, args.sets)
    if args.full:
        print()
        out.print(Syntax(text, "toml", theme="ansi_dark", background_color="default") if out.is_terminal else text,
                  soft_wrap=True)  # fmt: skip
    require(shipped.told(path), lookup.unfinished(nodes, found), folder())
    return 0


def _verdict(counted: Sequence[Stage], fits: str, as_it_is: bool) -> str:
    """Say in one line whether a run can begin now, and how much it is; `as_it_is`: by recipes without other settings.

    The time is of runs that there are, or else of the recipes' own words.
    """
    from distillkit.plan import fit

    left = [stage for stage in counted if not stage.finished]
    missing = {name for stage in left for name in stage.missing}
    todo = f"{_number(len(left), 'recipe')} to run" if left else "nothing to run"
    reused = f", {len(counted) - len(left)} reused" if len(left) < len(counted) else ""
    known = [_seconds(stage) for stage in left]
    seconds = [known or (_said(stage) if as_it_is else None) for known, stage in zip(known, left, strict=True)]
    all_told = left and all(seconds)
    time = f", {'' if all(known) else 'about '}{formats.duration(sum(filter(None, seconds)))}" if all_told else ""
    time += (" here" if all(known) else " on a CPU") if all_told else ""
    if missing:
        return f"valid, but {_number(len(missing), 'file')} missing here: {todo}{reused}"
    if fits.startswith(fit.NOT[0]):
        return f"valid, but does not fit here: {todo}{reused}{time}"
    return f"ok: {todo}{reused}{time}" + (", fits" if fits.startswith("fits") else "")


def _number(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _fits(counted: Sequence[Stage]) -> str:
    """Say whether all that is left fits into the memory here."""
    from distillkit.plan import fit

    try:
        return fit.verdict(list(counted), fit.device(None, counted[-1].recipe.run.device))
    except UsageError as error:  # a system that does not tell how much memory it has
        return f"{fit.NOT[1]} whether it fits: {error}"


def _takes(stage: Stage) -> str:
    """The time that a run of it lets expect; else what the recipe says of itself."""
    if stage.finished:
        return "-"
    seconds = _seconds(stage)
    return formats.duration(seconds) if seconds else stage.recipe.about.runs_on or "?"


def _seconds(stage: Stage) -> float | None:
    from distillkit.plan.speed import logged

    speed = logged(stage.run)
    return speed.seconds_left(stage.recipe) if speed else None


def _said(stage: Stage) -> float | None:
    """Seconds that the recipe says it takes on a CPU, as in "CPU, 80 s"."""
    found = re.fullmatch(r"CPU, (\d+) (s|min|h)", stage.recipe.about.runs_on or "")
    return float(found[1]) * {"s": 1, "min": 60, "h": 3600}[found[2]] if found else None
