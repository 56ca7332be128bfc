"""`distillkit check`: the recipe with every default, and what a run would do, lack or refuse; nothing is run."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.syntax import Syntax

from distillkit.api import InputError, UsageError
from distillkit.cli import arguments, screen
from distillkit.cli.console import console
from distillkit.recipe import shipped
from distillkit.registry import Catalog


def add(parser: ArgumentParser) -> None:
    arguments.recipe(parser, number="+")
    parser.add_argument("--toml", action="store_true", help="print the resolved recipe only, as TOML")


def main(args: Namespace) -> int:
    """Show the recipe and the plan; of several, and of studies, only what is wrong -> exit code."""
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
    from distillkit.run.refuse import refuse

    catalog = Catalog.installed()
    nodes = graph(path, args.sets, catalog, None, runs=args.runs)
    text = to_toml(nodes[-1].recipe, made_with=nodes[-1].versions)
    if args.toml:
        print(text, end="")
        return 0
    live, known = screen.choose(), rundir.known(args.runs)
    found = lookup.plan(nodes, known)
    untried = refuse(nodes, [one.run for one in found], args.sets, catalog)
    out = console()
    if out.is_terminal:
        out.print(Syntax(text, "toml", theme="ansi_dark", background_color="default"))
    else:
        print(text)
    live.plan(lookup.rows(nodes, found))
    for text in lookup.remarks(nodes, found):
        live.warn(text)
    if found[-1].run is None and (text := lookup.shorter(nodes[-1], known)):
        live.line(text)
    _tell_inherited(path, args.sets)
    print(f"\n{shipped.told(path)} is a valid recipe; it was tried without numbers, and nothing was run.")
    for line in untried:
        print(f"not tried, for it needs numbers: {line}")
    require(shipped.told(path), lookup.unfinished(nodes, found), folder())
    return 0
