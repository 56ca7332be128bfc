"""`distillkit convert`: a network of another make, as a result folder."""

from __future__ import annotations

from argparse import Namespace

from distillkit.api.errors import UsageError
from distillkit.registry import Catalog


def main(arguments: Namespace) -> int:
    """Write the folder and say what is in it -> exit code."""
    source, out = arguments.source, arguments.out
    if not source.is_file():
        raise UsageError(f"{source}: no such file")
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} exists already; choose another folder")
    from distillkit.networks.imported import convert

    card = convert(source, out, Catalog.installed())
    size, labels = card["resolution"], card["label_dim"]
    print(f"{out}: {card['network']['use']}, {card['channels']} x {size} x {size}, {labels} labels")
    return 0
