"""Arguments that several commands have, and the types of values that argparse does not know."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

from distillkit.api.errors import UsageError
from distillkit.cli.runs import run_path

STUDENT = "a run or its number, a result folder, a student.safetensors, digits/sid2a_el, or hf://USER/NAME"
IMAGES = 1_000_000  # at most
FORMATS = ("safetensors", "torch-export", "onnx", "diffusers")  # of export and push


def recipe(command: ArgumentParser, *, number: str | None = None, resumes: bool = False) -> None:
    """Add RECIPE, --set and --runs; `number`: how many recipes, as argparse has it; `resumes`: or --resume RUN."""
    told = "a TOML file, or the name of a shipped recipe; see distillkit recipes"
    command.add_argument("recipe", type=recipe_path, nargs=number, metavar="RECIPE", help=told)
    sets(command, "generator_loss.alpha=1.0 (TOML values; may be repeated)")
    if resumes:  # the default is known when it is known what runs
        command.add_argument(
            "--runs", type=Path, metavar="DIR", help="where runs are (runs; of --resume: where RUN is)"
        )
    else:
        runs(command)


def trust(parser: ArgumentParser) -> None:
    """`args.trust`: sums of programs in a run folder that may run, or `any`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--trust", action="store_const", const=["any"], default=[],
                       help="run TorchScript files that the RUN names, whoever made them")  # fmt: skip
    which.add_argument("--trust-sha256", dest="trust", type=sha256, action="append", metavar="SUM",
                       help="run the one with this sha256 (may be repeated)")  # fmt: skip


def sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ArgumentTypeError(f"64 digits 0-9a-f, not {text[:80]!r}")
    return text


def recipe_path(text: str) -> Path:
    """Find the file of a RECIPE, or of the shipped recipe of that name."""
    from distillkit.recipe import shipped

    return shipped.asked(text)


def sets(command: ArgumentParser, example: str) -> None:
    """Add --set KEY=VALUE, explained by an example."""
    command.add_argument(
        "--set", dest="sets", action="append", default=[], metavar="KEY=VALUE",
        help=f"override a key, such as {example}",
    )  # fmt: skip


def runs(command: ArgumentParser) -> None:
    """Add --runs DIR."""
    command.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs are (%(default)s)")


def student(command: ArgumentParser) -> None:
    """Add RUN, a student in any form."""
    command.add_argument("run", type=student_path, metavar="RUN", help=STUDENT)


def sampler(command: ArgumentParser) -> None:
    """Add --sampler, for networks that name none, and for others than their own."""
    command.add_argument("--sampler", metavar="'NAME KEY=VALUE'",
                         help="draw by this one, such as heun or 'euler steps=50' (the student's own)")  # fmt: skip


def student_path(text: str) -> Path:
    """Find a student: a path, a run by its number, or one that comes along."""
    from distillkit.networks import shipped

    if text.startswith("hf://"):  # downloaded later: not every error of that is one of the command line
        return Path(text)
    try:
        return shipped.found(run_path(text))
    except UsageError as error:
        raise ArgumentTypeError(str(error)) from None


def dtype(command: ArgumentParser) -> None:
    """Add --dtype, how the weights of an exported student lie in its file."""
    command.add_argument("--dtype", default="fp32", choices=("fp32", "fp16", "bf16"),
                         help="of the weights in the file; what computes is fp32 (%(default)s)")  # fmt: skip


def run(command: ArgumentParser) -> None:
    """Add RUN, a run's folder."""
    command.add_argument(
        "run", type=run_path, metavar="RUN", help="a run, such as runs/0003-digits_sid, or 3 for short"
    )


def whole(low: int, high: int) -> Callable[[str], int]:
    """Make a type of arguments: whole numbers from `low` to `high`."""

    def number(text: str) -> int:
        if not (_digits(text) and low <= int(text) <= high):
            raise ArgumentTypeError(f"a whole number from {low} to {high}: {text[:64]!r}")
        return int(text)

    return number


def positive(text: str) -> float:
    """Read a number above 0."""
    value = float(text)
    if not 0 < value < 1e9:
        raise ArgumentTypeError(f"a number above 0: {text[:64]!r}")
    return value


def share(text: str) -> float:
    """Read a number from 0 to less than 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"a share is a number from 0 to less than 1: {text[:64]!r}")
    return value


def size(text: str) -> tuple[int, int]:
    """Read width and height: "64" -> (64, 64), "64x32" -> (64, 32)."""
    parts = text.split("x") if "x" in text else [text, text]
    if len(parts) != 2 or not all(_digits(part) and 1 <= int(part) <= 4096 for part in parts):
        raise ArgumentTypeError(f"a size is N or WIDTHxHEIGHT, from 1 to 4096: {text[:64]!r}")
    return int(parts[0]), int(parts[1])


def seed(text: str) -> int:
    """Read a seed of a run."""
    if not (_digits(text) and int(text) < 2**32):
        raise ArgumentTypeError(f"a seed is a whole number from 0 to 2**32 - 1: {text[:64]!r}")
    return int(text)


def seeds(text: str) -> list[int]:
    """Read seeds of runs, each once: "0,1,2" -> [0, 1, 2]."""
    found = [seed(part.strip()) for part in text.split(",")]
    if len(set(found)) != len(found):
        raise ArgumentTypeError(f"a seed occurs twice: {text!r}")
    return found


def image_seeds(text: str) -> list[int]:
    """Read seeds of images: "0,5,7-9" -> [0, 5, 7, 8, 9]."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = [first, last] if dash else [first, first]
        if not all(_digits(end) and int(end) < 2**32 for end in ends):
            raise ArgumentTypeError(f"seeds are like 0-63 or 0,5,7-9, from 0 to 2**32 - 1: {text[:64]!r}")
        if not 0 <= int(ends[1]) - int(ends[0]) < IMAGES - len(found):
            raise ArgumentTypeError(f"1 to {IMAGES} seeds, in order: {part[:64]!r}")
        found += range(int(ends[0]), int(ends[1]) + 1)
    return found


def labels(text: str) -> list[int] | str:
    """Read classes: "3" -> [3], "0,1,2" -> [0, 1, 2], "random"."""
    if text == "random":
        return text
    parts = text.split(",")
    if not all(_digits(part) and len(part) < 7 for part in parts):
        raise ArgumentTypeError(f'classes are like 3 or 0,1,2, or "random": {text[:64]!r}')
    return [int(part) for part in parts]


def _digits(text: str) -> bool:
    """Check that there are digits alone, and few enough to be a number of ours."""
    return text.isascii() and text.isdigit() and len(text) < 11
