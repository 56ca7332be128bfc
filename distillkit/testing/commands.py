"""Contract of subcommands."""

from __future__ import annotations

import subprocess
import sys
from argparse import SUPPRESS, ArgumentParser
from typing import ClassVar, cast

import pytest

from distillkit.api import Command
from distillkit.testing.component import ComponentContract


class CommandContract(ComponentContract):
    """It says what its arguments are before anything heavy is imported, and gives an exit code."""

    kind = "command"
    arguments: ClassVar[tuple[str, ...]] = ()  # a command line that succeeds, in the folder that `files` filled

    def parser(self) -> tuple[Command, ArgumentParser]:
        command, parser = cast(Command, self.choice.build()), ArgumentParser(f"distillkit {self.use}")
        command.add(parser)
        return command, parser

    def test_it_has_no_keys(self) -> None:
        assert not self.table.keys() - {"use"}, "no recipe picks a command: take arguments in `add`"

    def test_each_argument_says_what_it_is(self) -> None:
        for action in self.parser()[1]._actions:
            assert (action.help or "").strip() and action.help != SUPPRESS, action.option_strings or action.dest

    def test_its_arguments_are_known_without_torch(self) -> None:
        cls = self.choice.cls
        code = (
            f"import sys, argparse; from {cls.__module__} import {cls.__name__} as C\n"
            "C(C.Config()).add(argparse.ArgumentParser())\n"
            "print(*{'torch', 'numpy', 'PIL'} & {*sys.modules})"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.split()) == (0, []), f"import these in `main`: {done.stdout}{done.stderr}"

    def test_a_wrong_argument_is_the_parsers_to_refuse(self) -> None:
        with pytest.raises(SystemExit) as left:
            self.parser()[1].parse_args([*self.arguments, "--no-such-argument-of-anybody"])
        assert left.value.code == 2

    def test_it_gives_an_exit_code(self) -> None:
        command, parser = self.parser()
        code = command.main(parser.parse_args(self.arguments))
        assert type(code) is int and code == 0
