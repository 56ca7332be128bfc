"""`distillkit convert`: a network of another make, as a result folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from distillkit.api.errors import UsageError
from distillkit.registry import Catalog


def add(parser: ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN",
                         help="such as edm-cifar10-32x32-cond-vp.pkl; run as no code")  # fmt: skip
    parser.add_argument("out", type=Path, metavar="OUT", help="a new folder, for student.safetensors and student.json")


def main(args: Namespace) -> int:
    """Write the folder and say what is in it -> exit code."""
    source, out = args.source, args.out
    if not source.is_file():
        raise UsageError(f"{source}: no such file")
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} exists already; choose another folder")
    from distillkit.networks.imported import convert

    card = convert(source, out, Catalog.installed())
    size, labels = card["resolution"], card["label_dim"]
    print(f"{out}: {card['network']['use']}, {card['channels']} x {size} x {size}, {labels} labels")
    return 0
