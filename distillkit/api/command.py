"""Subcommands that plugins add to `distillkit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from distillkit.api.component import Component

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


class Command(Component):
    """A subcommand, `distillkit NAME`; picked on the command line, in no recipe.

    The first line of its docstring is its help. Its module is imported when it is asked for, also by `--help`: what
    takes long to import is imported in `main`. Its Config has no keys: arguments are its own.
    """

    kind = "command"
    own: ClassVar[tuple[str, ...]] = (  # names that are distillkit's
        "run", "check", "check-teacher", "plan", "study", "tune", "launch", "watch", "compare", "report", "eval",
        "sample", "export", "recipes", "data", "assets", "convert", "push", "pull", "completion", "plugins", "new",
        "schema", "doctor",
    )  # fmt: skip

    def add(self, parser: ArgumentParser) -> None:
        """Add its arguments, each with `help`."""

    def main(self, args: Namespace) -> int:
        """Do it -> exit code: 0 done, 2 usage, 3 input refused, 4 diverged, 5 resources.

        Errors of `distillkit.api` become one line and their code.
        """
        raise NotImplementedError
