"""The `distillkit` command: its arguments, and how an error becomes one line and an exit code."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import tempfile
import traceback
import warnings
from importlib import import_module
from pathlib import Path

from distillkit import __version__
from distillkit.api.errors import DistillkitError, ResourceError
from distillkit.cli import tools

INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run one command line -> exit code (design: 0 done, 1 bug, 2 usage, 3 input, ... 130 interrupted)."""
    try:
        arguments = parser().parse_args(argv)
    except SystemExit as stop:  # argparse: 0 after --help, 2 after a wrong argument
        return int(stop.code or 0)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            command = import_module(f"distillkit.cli.{arguments.command}")
            code: int = command.main(arguments)
            sys.stdout.flush()
            return code
        except BrokenPipeError:  # the reader of our output left, as `| head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (Exception, KeyboardInterrupt) as error:
            return _explain(error)


def parser() -> argparse.ArgumentParser:
    """The whole command line on one page."""
    top = argparse.ArgumentParser("distillkit", description="Turn a diffusion model into a one-step generator.")
    top.add_argument("--version", action="version", version=f"distillkit {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a recipe, and first the recipes it builds on")
    _recipe(run, number="?")
    seeds = run.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=_seed, metavar="N", help="instead of the recipe's run.seed")
    seeds.add_argument("--seeds", type=_seeds, metavar="0,1,2", help="run once for each, show mean and spread")
    run.add_argument("--resume", type=Path, metavar="RUN", help="instead of a recipe: go on with this run")
    run.add_argument("--wait", action="store_true", help="where another process has this run, wait for it to end")
    run.add_argument("--take-over", action="store_true", help="from a dead process of another host, at once")
    run.set_defaults(runs=None)  # with --resume: where that run is
    run.add_argument("--again", action="store_true", help="run even what is finished with the same fingerprint")
    run.add_argument("--smoke", action="store_true", help="try the wiring: tiny networks, random images, two ticks")

    check = commands.add_parser("check", help="show the resolved recipe and the plan, or check many; build nothing")
    _recipe(check, number="+")
    check.add_argument("--toml", action="store_true", help="print the resolved recipe only, as TOML")

    _plan(commands.add_parser("plan", help="say what a recipe takes, and whether it fits; run and download nothing"))

    _plugins(commands.add_parser("plugins", help="list what a recipe can name, or explain one"))

    _compare(commands.add_parser("compare", help="show runs side by side, and write a page of their curves"))

    _study(commands.add_parser("study", help="run many recipes and seeds from one file, and compare them"))

    _data(commands.add_parser("data", help="pack images into a data set, check one, or measure it for fid"))

    _new(commands.add_parser("new", help="start a plugin: a distribution that installs, passes its tests and runs"))

    tools.add(commands)

    convert = commands.add_parser("convert", help="turn a network of another make (.pkl, .bin, .pt) into ours")
    convert.add_argument(
        "source", type=Path, metavar="IN", help="such as edm-cifar10-32x32-cond-vp.pkl; run as no code"
    )
    convert.add_argument("out", type=Path, metavar="OUT", help="a new folder, for student.safetensors and student.json")

    _assets(commands.add_parser("assets", help="list the published files that recipes name, or download them"))

    report = commands.add_parser("report", help="write the report.html of a run again")
    report.add_argument("run", type=Path, metavar="RUN", help="a run directory, such as runs/0003-digits_sid")
    return top


def _plan(command: argparse.ArgumentParser) -> None:
    _recipe(command)
    command.add_argument("--memory", "--device-memory", type=_positive, metavar="GB",
                         help="of the device (default: of the GPU, else what is available here)")  # fmt: skip
    command.add_argument("--measure", action="store_true", help="time a few iterations where no run tells the speed")
    command.add_argument("--price-per-hour", type=_positive, metavar="X", help="of the device, for the cost column")


def _plugins(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", nargs="?", metavar="NAME", help="what follows `use =`")
    command.add_argument("--kind", metavar="KIND", help="only this kind, such as generator_loss")
    command.add_argument("--json", action="store_true", help="for programs")
    command.add_argument("--verify", action="store_true", help="import everything and report what is broken")
    command.add_argument("--traceback", action="store_true", help="with --verify: show why")


def _compare(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories; seeds are grouped")
    command.add_argument("--baseline", metavar="NAME", help="a recipe, a group or a run (default: the first RUN's)")
    command.add_argument("--metric", dest="metrics", action="append", default=[], metavar="NAME",
                         help="draw this one's curves, such as frechet/fd (may be repeated; default: two)")  # fmt: skip
    command.add_argument("--within", type=_share, default=0.05, metavar="SHARE",
                         help="how near to the baseline's final value is near enough (%(default)s)")  # fmt: skip
    command.add_argument("--anyway", action="store_true", help="compare what was not measured alike")
    command.add_argument("--out", type=Path, default=Path("compare.html"), metavar="FILE", help="(%(default)s)")


def _study(command: argparse.ArgumentParser) -> None:
    command.add_argument("study", type=Path, metavar="STUDY", help="a TOML file: name, seeds, [[vary.AXIS]], [[cell]]")
    command.add_argument(
        "--jobs", type=_jobs, default=1, metavar="N", help="runs at once, one thread each (%(default)s)"
    )
    command.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs are (%(default)s)")
    command.add_argument("--out", type=Path, metavar="DIR", help="for page, study.json and logs (RUNS/study-NAME)")
    command.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here as well")
    command.add_argument("--no-run", action="store_true", help="start nothing, compare what is finished")


def _data(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    pack = actions.add_parser("pack", help="write a zip of images of one size, in the layout of EDM")
    pack.add_argument("source", type=Path, metavar="SRC", help="a folder, a .zip, a .npz, or CIFAR-10's .tar.gz")
    pack.add_argument("out", type=Path, metavar="OUT.zip", help="must not exist")
    pack.add_argument("--resolution", type=_size, metavar="N|WxH", help="resize by Lanczos (default: leave as it is)")
    pack.add_argument("--transform", choices=("center-crop", "center-crop-wide", "center-crop-dhariwal"),
                      help="before it is resized; the last: ImageNet's for EDM2")  # fmt: skip
    pack.add_argument("--labels", choices=("auto", "none"), default="auto",
                      help="auto: of dataset.json, else the top-level folders in alphabetical order")  # fmt: skip
    pack.add_argument("--orientation", choices=("exif", "stored"),
                      help="how cameras were held: obey EXIF (default), or leave it as EDM's tool does")  # fmt: skip
    pack.add_argument("--skip-damaged", action="store_true", help="leave out what cannot be read, and name it")
    pack.add_argument("--vae", metavar="FILE", help="write latents of this autoencoder instead, as EDM2 does")
    stats = actions.add_parser("stats", help="write mean and covariance of features, a reference for fid")
    stats.add_argument("path", type=Path, metavar="PATH", help="a folder, a .zip, a .npz, or CIFAR-10's .tar.gz")
    stats.add_argument("out", type=Path, metavar="OUT.npz", help="must not exist")
    stats.add_argument("--features", default="inception", metavar="NAME", help="as in a recipe (%(default)s)")
    stats.add_argument("--network", type=Path, metavar="FILE", help="its key `network`: a TorchScript file")
    check = actions.add_parser("check", help="read every image of a data set and say what it holds")
    check.add_argument("path", type=Path, metavar="PATH", help="a folder, a .zip, a .npz, or CIFAR-10's .tar.gz")
    check.add_argument("--latents", action="store_true", help="a folder or .zip of latents")


def _new(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="what recipes will say after `use =`, such as my-loss")
    command.add_argument("--kind", required=True, metavar="KIND", help="such as generator_loss; see distillkit plugins")
    command.add_argument("--to", type=Path, default=Path(), metavar="DIR", help="where its folder is made (here)")


def _assets(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="for programs")
    command.set_defaults(names=[])
    get = command.add_subparsers(metavar="get").add_parser("get", help="download to $DISTILLKIT_HOME/assets")
    get.add_argument("names", nargs="+", metavar="NAME", help="such as edm-cifar10-32x32-cond-vp.pkl")


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 256):
        raise argparse.ArgumentTypeError(f"a whole number from 1 to 256: {text[:64]!r}")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    parts = text.split("x") if "x" in text else [text, text]
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and 1 <= int(part) <= 4096 for part in parts):
        raise argparse.ArgumentTypeError(f"a size is N or WIDTHxHEIGHT, from 1 to 4096: {text[:64]!r}")
    return int(parts[0]), int(parts[1])


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"a number above 0: {text[:64]!r}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"a share is a number from 0 to less than 1: {text[:64]!r}")
    return value


def _recipe(command: argparse.ArgumentParser, *, number: str | None = None) -> None:
    command.add_argument("recipe", type=Path, nargs=number, metavar="RECIPE", help="a TOML file")
    command.add_argument(
        "--set", dest="sets", action="append", default=[], metavar="KEY=VALUE",
        help="override a key, such as generator_loss.alpha=1.0 (TOML values; may be repeated)",
    )  # fmt: skip
    command.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs are (%(default)s)")


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 to 2**32 - 1: {text[:64]!r}")
    return int(text)


def _seeds(text: str) -> list[int]:
    seeds = [_seed(part.strip()) for part in text.split(",")]
    if len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(f"a seed occurs twice: {text!r}")
    return seeds


def _explain(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if os.environ.get("DISTILLKIT_TRACEBACK"):
        traceback.print_exception(error)
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        error = ResourceError(str(error) or "out of memory")
    if isinstance(error, DistillkitError):
        text = str(error)
        print(text if "\n" in text else f"error: {text}", file=sys.stderr)
        return error.exit_code
    print(f"bug: {type(error).__name__}: {_one_line(error)}; traceback in {_saved(error)}", file=sys.stderr)
    return 1


def _saved(error: BaseException) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="distillkit-", suffix=".log", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    return file.name


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {_one_line(message)}", file=sys.stderr)
