"""Runs as arguments of commands: a path, a number, or how the name begins."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path

from distillkit.api.errors import UsageError
from distillkit.disk.remembered import run_of


def run_path(text: str) -> Path:
    """The path that `run_of` finds; its error is one of the command line."""
    try:
        return run_of(text)
    except UsageError as error:
        raise ArgumentTypeError(str(error)) from None
