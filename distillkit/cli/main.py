"""The `distillkit` command: its arguments, and how an error becomes one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
import warnings
from importlib import import_module
from signal import SIGINT

from distillkit import __version__
from distillkit.api.explained import explained
from distillkit.cli.plain import plain_streams
from distillkit.run.signals import Stopped, StopRequest
from distillkit.train.ranks.ending import Ending

BY_SIGNAL = 128  # and its number
INTERRUPTED = BY_SIGNAL + SIGINT
COMMANDS = {  # a module here each, with add(parser) and main(args)
    "run": "run a recipe, and first the recipes it builds on",
    "check": "show the resolved recipe and the plan, or check many; run nothing",
    "plan": "say what a recipe takes, and whether it fits; run and download nothing",
    "plugins": "list what a recipe can name, or explain one",
    "schema": "print a JSON Schema of recipes, for an editor that completes and checks them",
    "compare": "show runs side by side, and write a page of their curves",
    "study": "run many recipes and seeds from one file, and compare them",
    "data": "pack images into a data set, check one, or measure it for fid",
    "new": "start a plugin: a distribution that installs, passes its tests and runs",
    "sample": "draw images of a finished student",
    "eval": "measure the student of a finished run again",
    "export": "write a finished student in a format of others, and compare the two",
    "launch": "run a recipe on machines of a scheduler, or print what does",
    "doctor": "say whether everything is here that a run needs",
    "convert": "turn a network of another make (.pkl, .bin, .pt) into ours",
    "recipes": "list the recipes that come with distillkit, or copy one to edit",
    "assets": "list the published files that recipes name, or download them",
    "report": "write the report.html of a run again",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command line -> exit code (design: 0 done, 1 bug, 2 usage, 3 input, ... 130 interrupted)."""
    ending = Ending() if argv is None else None  # None: not a process of its own
    with plain_streams():
        code = _run(sys.argv[1:] if argv is None else argv)
    if ending is not None:
        ending.code = code
    return code


def _run(argv: list[str]) -> int:
    # A signal while modules are imported is kept: raised there it may be lost, or end in a traceback.
    with StopRequest() as stop, warnings.catch_warnings():
        try:
            args = parser(next((text for text in argv if not text.startswith("-")), "")).parse_args(argv)
            args.argv = argv  # for the commands that start themselves again
        except SystemExit as leave:  # argparse: 0 after --help, 2 after a wrong argument
            return int(leave.code or 0)
        warnings.showwarning = _show_warning
        try:
            command = import_module(f"distillkit.cli.{args.command}")
            with stop.at_once():  # what trains has one of its own, which saves
                code: int = command.main(args)
            sys.stdout.flush()
            return code
        except BrokenPipeError:  # the reader of our output left, as `| head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Stopped as signal:
            print("interrupted" if signal.number == SIGINT else f"stopped by {signal}", file=sys.stderr)
            return BY_SIGNAL + signal.number
        except (Exception, KeyboardInterrupt) as error:
            return _explain(error)


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The command line: the arguments of `command` alone, whose module is imported for that; None: of all."""
    top = argparse.ArgumentParser("distillkit", description="Turn a diffusion model into a one-step generator.")
    top.add_argument("--version", action="version", version=f"distillkit {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, told in COMMANDS.items():
        one = commands.add_parser(name, help=told)
        if command in (name, None):
            import_module(f"distillkit.cli.{name}").add(one)
    return top


def _explain(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if os.environ.get("DISTILLKIT_TRACEBACK"):
        traceback.print_exception(error)
    if known := explained(error):
        text = str(known)
        print(text if "\n" in text else f"error: {text}", file=sys.stderr)
        return known.exit_code
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
