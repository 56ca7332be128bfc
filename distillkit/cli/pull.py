"""`distillkit pull`: a student from the Hub, as a folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add(parser: ArgumentParser) -> None:
    parser.add_argument("repo", metavar="USER/NAME", help="a repository of a student that was pushed")
    parser.add_argument("--to", type=Path, metavar="DIR", help="a new folder (NAME)")
    parser.add_argument("--revision", metavar="NAME", help="a branch, tag or commit (the newest)")


def main(args: Namespace) -> int:
    """Download, check and tell what it is -> exit code."""
    from distillkit.networks.hub import pull, repository
    from distillkit.networks.network_file import WEIGHTS

    out = args.to or Path(repository(args.repo).partition("/")[2])
    card = pull(args.repo, out, args.revision)
    size, labels = card["resolution"], card["label_dim"]
    print(f"{out}: {card['network']['use']}, {card['channels']} x {size} x {size}, {labels} labels; hashes agree")
    if (out / WEIGHTS).is_file():
        print(f"distillkit sample {out}")
    return 0
