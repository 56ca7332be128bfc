"""The arguments of the commands around runs: for finished students, and for the place they are made in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

MOST = 1_000_000  # images


def add(commands: Any) -> None:
    """Add them to the subparsers of the command line."""
    _sample(commands.add_parser("sample", help="draw images of a finished student"))
    _eval(commands.add_parser("eval", help="measure the student of a finished run again"))
    _export(commands.add_parser("export", help="write a finished student in a format of others, and compare the two"))
    doctor = commands.add_parser("doctor", help="say whether everything is here that a run needs")
    doctor.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs are (%(default)s)")


def _sample(command: argparse.ArgumentParser) -> None:
    _student(command)
    command.add_argument("-n", type=_number, metavar="N", help="how many images (64)")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--seed", type=_number_or_0, default=0, metavar="S", help="images 50000 S, 50000 S + 1 ... (0)")
    which.add_argument("--seeds", type=seeds, metavar="0-63", help="these seeds of EDM instead, such as 0,5,7-9")
    command.add_argument("--labels", type=_labels, metavar="3|0,1,2|random",
                         help="one class, or classes that take turns, or the seed's own (all take turns)")  # fmt: skip
    command.add_argument("--out", type=Path, default=Path("samples.png"), metavar="PATH",
                         help="X.png: a sheet; X.npz; X.zip: as EDM; X: a folder of PNGs (%(default)s)")  # fmt: skip
    command.add_argument("--batch", type=_number, default=256, metavar="N", help="images in a pass (%(default)s)")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(%(default)s)")
    command.add_argument("--force", action="store_true", help="overwrite what is there")


def _eval(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="a run directory, such as runs/0003-digits_sid")
    command.add_argument("--recipe", type=Path, metavar="FILE", help="ask the [[evaluate]] of this recipe instead")
    command.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE",
                         help="override a key, such as evaluate.0.images=5000 (may be repeated)")  # fmt: skip


def _export(command: argparse.ArgumentParser) -> None:
    _student(command)
    command.add_argument("--to", required=True, choices=("safetensors", "torch-export", "onnx", "diffusers"))
    command.add_argument("out", type=Path, metavar="DIR", help="a new folder, for the student and its cards")


def _student(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="a run, a result folder or a student.safetensors")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {MOST}: {text[:64]!r}")
    return int(text)


def _number_or_0(text: str) -> int:
    return 0 if text == "0" else _number(text)


def seeds(text: str) -> list[int]:
    """ "0,5,7-9" -> [0, 5, 7, 8, 9]."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = [first, last] if dash else [first, first]
        if not all(end.isascii() and end.isdigit() and len(end) < 11 and int(end) < 2**32 for end in ends):
            raise argparse.ArgumentTypeError(f"seeds are like 0-63 or 0,5,7-9, from 0 to 2**32 - 1: {text[:64]!r}")
        if not 0 <= int(ends[1]) - int(ends[0]) < MOST - len(found):
            raise argparse.ArgumentTypeError(f"1 to {MOST} seeds, in order: {part[:64]!r}")
        found += range(int(ends[0]), int(ends[1]) + 1)
    return found


def _labels(text: str) -> list[int] | str:
    if text == "random":
        return text
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 7 for part in parts):
        raise argparse.ArgumentTypeError(f'classes are like 3 or 0,1,2, or "random": {text[:64]!r}')
    return [int(part) for part in parts]
