"""`distillkit export`: a finished student for other programs, in a folder with its cards."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from distillkit.cli import arguments


def add(parser: ArgumentParser) -> None:
    arguments.student(parser)
    parser.add_argument("--to", required=True, choices=arguments.FORMATS, help="the format")
    arguments.dtype(parser)
    parser.add_argument("out", type=Path, metavar="DIR", help="a new folder, for the student and its cards")


def main(args: Namespace) -> int:
    """Write, compare and tell how far apart the two are -> exit code."""
    from distillkit.networks.export import PASSES, export

    done = export(args.run, args.to, args.out, args.dtype)
    print(
        f"{args.out}: {args.to}, {args.dtype}, {done.size / 1e6:.2f} MB; "
        f"largest difference from the student {done.difference:.2g} over {sum(PASSES)} images"
    )
    return 0
