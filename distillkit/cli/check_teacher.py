"""`distillkit check-teacher`: whether a recipe's teacher is right, and which of the usual mistakes it has."""

from __future__ import annotations

import json
import textwrap
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from distillkit.api import InputError, UsageError
from distillkit.cli import arguments, screen
from distillkit.cli.console import console
from distillkit.registry import Catalog

if TYPE_CHECKING:
    from distillkit.teachercheck.report import Report


def add(parser: ArgumentParser) -> None:
    arguments.recipe(parser)
    parser.add_argument("--images", type=arguments.whole(8, 10_000), metavar="N",
                        help="real images to judge by (32 to 512: fewer the larger they are)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("check-teacher.png"), metavar="PATH",
                        help="the picture, which is written over (%(default)s)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")


def main(args: Namespace) -> int:
    """Examine it and tell -> exit code: 0 it is right, 3 it is not."""
    if args.out.is_dir() or args.out.suffix.lower() != ".png" or not args.out.parent.is_dir():
        raise UsageError(f"--out {args.out}: a picture is PATH.png, in a folder that exists")
    live, catalog = screen.choose(), Catalog.installed()
    with live.progress("importing torch, asking the teacher", None, ""):
        import torch

        from distillkit.teachercheck.examine import examine
        from distillkit.teachercheck.ready import recipe_of
        from distillkit.train import threads

        recipe = recipe_of(args.recipe, args.sets, args.runs, catalog)
        torch.set_num_threads(recipe.run.threads or threads.choose())
        report = examine(recipe, catalog, images=args.images, picture=args.out)
    if args.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        show(report, console())
    return 0 if report.right else InputError.exit_code


def show(report: Report, out: Console) -> None:
    """Print the verdict, what is wrong and what to change, and the numbers."""
    names = " and ".join(one.name for one in report.findings)
    verdict = "the teacher is right" if report.right else f"the teacher is wrong: {names}"
    out.print(Text(f"{report.recipe}: {verdict}", "bold"), soft_wrap=True)
    for one in report.findings:
        gain = f" Without it errors are {one.gain:.3g} times smaller." if one.gain else ""
        print()
        wrapped(out, one.name, f"{one.found}.{gain}")
        wrapped(out, "change", one.change)
    print()
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("sigma", "error", "noisy image", "mean image", "share"):
        table.add_column(name, justify="right")
    for level in report.levels:
        cells = (level.sigma, level.error, level.nothing, level.mean, level.share)
        table.add_row(*(f"{cell:.3g}" for cell in cells))
    out.print(table)
    print()
    for topic, text in report.notes.items():
        wrapped(out, topic, text)
    if report.picture:
        wrapped(out, "picture", f"{report.picture}: real, noisy, denoised, drawn in one step and in 18")
    wrapped(out, "asked", f"{report.calls} times about {report.images} real images; mean squared errors, share: "
                          "of the better of noisy and mean image")  # fmt: skip


def wrapped(out: Console, topic: str, text: str) -> None:
    """Print a topic and its words beside it."""
    width = 10
    lines = textwrap.wrap(text, max(out.width - width, 30), break_long_words=False, break_on_hyphens=False)
    for i, line in enumerate(lines):
        out.print(Text.assemble((f"{'' if i else topic:{width}}", "dim"), line), soft_wrap=True)
