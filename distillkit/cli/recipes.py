"""`distillkit recipes`: the recipes that come with distillkit, and copies of them for editing."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path

import attrs
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from distillkit.api import UsageError
from distillkit.cli.console import console
from distillkit.recipe import collection, shipped
from distillkit.recipe.collection import Listed, listed, picked


def add(parser: ArgumentParser) -> None:
    parser.add_argument("--data", metavar="NAME", help="only on this, such as afhq or cifar10")
    parser.add_argument("--method", metavar="NAME", help="only by this, such as di")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(names=[])
    copy = parser.add_subparsers(metavar="copy").add_parser("copy", help="write one, its parts and what it starts from")
    copy.add_argument("names", nargs="+", metavar="NAME", help="such as digits_sid2a_el")
    copy.add_argument(
        "--to", type=Path, default=Path("recipes"), metavar="DIR", help="a folder for the copies (%(default)s)"
    )


def main(args: Namespace) -> int:
    """List them, or copy one -> exit code."""
    if args.names:
        for name in args.names:
            written = collection.copy(name, args.to)
            print(f"{written[0]} written, with {len(written) - 1} files that it is made of or starts from")
            print(f"distillkit run {written[0]}")
        return 0
    everything = listed()
    found = picked(everything, args.data, args.method)
    if not found:
        raise UsageError(_nothing(everything, args))
    if args.json:
        print(json.dumps({"folder": str(shipped.folder()), "recipes": [_row(one) for one in found]}, indent=2))
        return 0
    out = console()
    for images, same in groupby(found, lambda one: one.about.images):
        out.print(Text(str(images), "bold"))
        out.print(Padding(_table(same), (0, 0, 1, 2)))
    out.print(Text("distillkit run NAME runs one, distillkit recipes copy NAME writes it for editing", "dim"))
    return 0


def _nothing(everything: list[Listed], args: Namespace) -> str:
    """Why nothing was found, and what would be."""
    known: dict[str, Callable[[Listed], str | None]] = {
        "data": lambda one: one.about.data, "method": lambda one: one.about.method,
    }  # fmt: skip
    told = []
    for name, value in ((name, getattr(args, name)) for name in known):
        names = sorted({str(known[name](one)) for one in everything})
        near = get_close_matches(value or "", names, n=1)
        if value and value not in names:
            told.append(f"did you mean {near[0]}?" if near else f"{name}: {', '.join(names)}")
    asked = [f"--{name} {value[:64]}" for name in known if (value := getattr(args, name))]
    return "; ".join([f"no shipped recipe is for {' '.join(asked)}", *told])


def _row(one: Listed) -> dict[str, object]:
    return {
        "name": one.name,
        "file": str(one.path),
        "use": one.use,
        "kimg": one.kimg,
        "batch": one.batch,
        **attrs.asdict(one.about),
    }


def _table(recipes: Iterable[Listed]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("recipe", style="cyan", min_width=24, no_wrap=True)
    table.add_column("method", min_width=17, no_wrap=True)
    table.add_column("published FID", justify="right")
    table.add_column("runs on", no_wrap=True)
    for one in recipes:
        fid = "" if one.about.fid is None else f"{one.about.fid:g}"
        table.add_row(one.name, one.method, fid, one.about.runs_on or "")
    return table
