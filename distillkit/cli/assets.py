"""`distillkit assets`: published files that recipes name, and their download."""

from __future__ import annotations

import json
import sys
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from distillkit.api import UsageError
from distillkit.assets import fetch
from distillkit.assets.folder import folder, locked
from distillkit.assets.get import get
from distillkit.assets.table import Asset, table
from distillkit.cli.console import console


def add(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(names=[])
    get = parser.add_subparsers(metavar="get").add_parser("get", help="download to $DISTILLKIT_HOME/assets")
    get.add_argument("names", nargs="+", metavar="NAME", help="such as edm-cifar10-32x32-cond-vp.pkl")


def main(args: Namespace) -> int:
    """List the table, or download what is named -> exit code."""
    if args.names:
        for asset in [_find(name) for name in args.names]:
            with _bar(asset.name) as progress:
                path, there = get(asset, folder(), progress)
            print(f"{path} {'is there already' if there else 'downloaded'}")
    elif args.json:
        print(json.dumps({"folder": str(folder()), "assets": _rows(folder())}, indent=2))
    else:
        out = console()
        for text in _listing(folder(), out.width):
            out.print(text, soft_wrap=True)
        out.print(Text(f"in {folder()}; `distillkit assets get NAME` downloads", "dim"), soft_wrap=True)
    return 0


def _find(name: str) -> Asset:
    if name not in table():
        near = get_close_matches(name, table(), n=1)
        hint = f"did you mean {near[0]}?" if near else "`distillkit assets` lists them"
        raise UsageError(f"no asset is called {name[:64]!r}; {hint}")
    return table()[name]


def _rows(where: Path) -> list[dict[str, object]]:
    sums = locked(where)
    return [
        {
            "name": asset.name, "kind": asset.kind, "url": asset.url, "how": asset.how, "mb": asset.mb,
            "licence": asset.licence, "sha256": asset.sha256, "downloaded_sha256": sums.get(asset.name),
            "here": (where / asset.name).is_file(),
        }
        for asset in table().values()
    ]  # fmt: skip


def _listing(where: Path, width: int) -> Iterator[Text]:
    """Two or more lines for each: what it is, then where it is from, with no URL broken."""
    longest = max(map(len, table()))
    yield Text(f"{'asset':<{longest}}  {'MB':>6}  licence", "dim")
    for asset in table().values():
        facts = f"  {asset.mb or '?':>6}  {asset.licence:<15}"
        here = "  here" if (where / asset.name).is_file() else ""
        yield Text.assemble((f"{asset.name:<{longest}}", "cyan"), facts if here else facts.rstrip(), (here, "green"))
        source = textwrap.wrap(asset.source, width - 2, break_long_words=False, break_on_hyphens=False)
        yield from (Text(f"  {line}", "dim") for line in source)


@contextmanager
def _bar(name: str) -> Iterator[fetch.Progress]:
    """A progress bar on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
