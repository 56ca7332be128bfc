"""The `distillkit` command: its arguments, and how an error becomes one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from signal import SIGINT
from typing import Any

from distillkit import __version__
from distillkit.api.explained import explained
from distillkit.cli import plugged
from distillkit.cli.overview import COMMANDS, Overview, unknown
from distillkit.cli.plain import forgive, plain_streams
from distillkit.cli.refusing import Command
from distillkit.run.signals import Stopped, StopRequest
from distillkit.train.ranks.ending import Ending

BY_SIGNAL = 128  # and its number
INTERRUPTED = BY_SIGNAL + SIGINT


def main(argv: list[str] | None = None) -> int:
    """Run one command line -> exit code (design: 0 done, 1 bug, 2 usage, 3 input, ... 130 interrupted)."""
    ending = Ending() if argv is None else None  # None: not a process of its own
    if ending is not None:
        forgive()
    with plain_streams():
        code = _run(sys.argv[1:] if argv is None else argv)
    if ending is not None:
        ending.code = code
    return code


def _run(argv: list[str]) -> int:
    command = next((text for text in argv if not text.startswith("-")), "")
    if not argv:
        print(parser("").format_help(), end="")
        return 0
    if command and (told := unknown(command)):
        print(f"error: {told}", file=sys.stderr)
        return 2
    return _called(command, argv)


def _called(command: str, argv: list[str]) -> int:
    # A signal while modules are imported is kept: raised there it may be lost, or end in a traceback.
    with StopRequest() as stop, warnings.catch_warnings():
        try:
            try:
                args = parsed(command, argv)
            except SystemExit as leave:  # argparse: 0 after --help, 2 after a wrong argument
                return int(leave.code or 0)
            args.argv = argv  # for the commands that start themselves again
            warnings.showwarning = _once()
            # Of recipes, which are their users' own: of Python's calls their authors are told, in tests.
            warnings.filterwarnings("default", r"\w+ \".*\" goes with distillkit", DeprecationWarning)
            shipped = args.command in COMMANDS
            module: Any = import_module(module_of(args.command)) if shipped else plugged.made(args.command)
            with stop.at_once():  # what trains has one of its own, which saves
                code: int = module.main(args)
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
    top = Overview("distillkit", description="Turn a diffusion model into a one-step generator.")
    top.add_argument("--version", action="version", version=f"distillkit {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Command)
    for name, told in COMMANDS.items():
        one = commands.add_parser(name, help=told)
        if command in (name, None):
            import_module(module_of(name)).add(one)
    if command == "" or command in COMMANDS:
        return top
    for name, offer in plugged.offers().items():
        one = commands.add_parser(name, help=offer.summary)
        if command is None:
            plugged.add_whole(name, one)
        elif command == name:
            plugged.add(name, one)
    return top


def module_of(command: str) -> str:
    """The module of one of our commands."""
    return f"distillkit.cli.{command.replace('-', '_')}"


def parsed(command: str, argv: list[str]) -> argparse.Namespace:
    """The arguments of a command. Raises SystemExit where it does not take them, which was told."""
    top = parser(command)
    args, unknown = top.parse_known_args(argv)
    if unknown:
        commands = next(one for one in top._actions if isinstance(one, argparse._SubParsersAction))
        commands.choices[args.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    return args


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


def _once() -> Callable[..., None]:
    """What shows warnings: each line once, however often a command comes to the same."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        line = f"warning: {_one_line(message)}"
        if line not in shown:
            shown.add(line)
            print(line, file=sys.stderr)

    return show
