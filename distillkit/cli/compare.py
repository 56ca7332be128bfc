"""`distillkit compare`: runs side by side, as tables here and curves on one page."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from distillkit.cli import arguments
from distillkit.cli.console import console
from distillkit.cli.runs import run_path
from distillkit.compare import Comparison, Run, compare, matrix, tables, write_page

PAGE = "compare.html"
GAP = 2  # characters between columns


def add(parser: ArgumentParser) -> None:
    parser.add_argument("runs", type=run_path, nargs="+", metavar="RUN",
                        help="run directories, or their numbers; seeds are grouped")  # fmt: skip
    parser.add_argument("--baseline", metavar="NAME", help="a recipe, a group or a run (default: the first RUN's)")
    parser.add_argument("--metric", dest="metrics", action="append", default=[], metavar="NAME",
                         help="draw this one's curves, such as frechet/fd (may be repeated; default: two)")  # fmt: skip
    parser.add_argument("--within", type=arguments.share, default=0.05, metavar="SHARE",
                         help="how near to the baseline's final value is near enough (%(default)s)")  # fmt: skip
    parser.add_argument("--anyway", action="store_true", help="compare what was not measured alike")
    parser.add_argument("--out", type=Path, metavar="FILE",
                         help="where to write the page, also over one that is there (compare.html, or the next "
                         "free name beside it)")  # fmt: skip


def main(args: Namespace) -> int:
    """Show the tables and write the page -> exit code."""
    found = compare(
        [Run.read(path) for path in args.runs], baseline=args.baseline, metrics=args.metrics,
        within=args.within, anyway=args.anyway,
    )  # fmt: skip
    page = write_page(found, args.out or free(Path(PAGE)))
    show(found, console(), page)
    return 0


def free(page: Path) -> Path:
    """The page's name, or the first of compare-2.html, compare-3.html ... that is not taken."""
    names = (page if i == 1 else page.with_stem(f"{page.stem}-{i}") for i in count(1))
    return next(name for name in names if not name.exists())


def show(c: Comparison, out: Console, page: Path) -> None:
    """Print all tables, as wide as the terminal, and where the page is; metrics without curves are one list."""
    for whole in matrix.every(c, ()):
        out.print(Padding(Text(whole.title), (1, 0, 0, 0)))
        for i, table in enumerate(_parts(whole, out.width)):
            out.print(Padding(drawn(table), (min(i, 1), 0, 0, 0)))
        if whole.note:
            out.print(Text(whole.note, "dim"))
    out.print(Padding(Text.assemble(("page  ", "dim"), str(page)), (1, 0, 0, 0)))


def _parts(table: tables.Table, width: int) -> Iterator[tables.Table]:
    """Cut the table into as many parts as `width` needs, each with the first column."""
    columns = list(zip(*([tables.Cell(name) for name in table.head], *table.rows), strict=True))
    widths = [max(len(cell.text) for cell in column) + GAP for column in columns]
    left = min(widths[0], width // 3)
    parts: list[list[int]] = [[0]]
    for i in range(1, len(columns)):
        if len(parts[-1]) > 1 and left + sum(widths[j] for j in parts[-1][1:]) + widths[i] > width:
            parts.append([0])
        parts[-1].append(i)
    for part in parts:
        yield tables.Table(table.title, [table.head[i] for i in part], [[row[i] for i in part] for row in table.rows])


def drawn(table: tables.Table) -> RenderableType:
    """Draw a table for the terminal; what is best or better is bold, what is worse italic."""
    shown = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, padding=(0, GAP, 0, 0), show_edge=False)
    for i, name in enumerate(table.head):
        shown.add_column(name, justify="right" if i else "left", overflow="fold", ratio=None)
    for row in table.rows:
        shown.add_row(*(Text(cell.text, "bold" if cell.best else "italic" if cell.worse else "") for cell in row))
    return shown
