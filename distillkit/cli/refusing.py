"""Command lines that argparse refuses: one line, with the way out."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NoReturn


class Command(argparse.ArgumentParser):
    """The arguments of a command."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {told(self, message)}   {self.prog} --help lists what it takes", file=sys.stderr)
        raise SystemExit(2)


def told(parser: argparse.ArgumentParser, message: str) -> str:
    """What argparse found, with what would be right."""
    if match := re.match(r"the following arguments are required: (.*)", message):
        return f"missing: {', '.join(_described(parser, match[1].split(', ')))}"
    if match := re.match(r"unrecognized arguments: (.*)", message):
        return _unknown(parser, match[1].split())
    if match := re.match(r"argument ([^:]*): invalid choice: '?(.*?)'? \(choose from (.*)\)$", message):
        choices = [choice.strip("' ") for choice in match[3].split(",")]
        near = get_close_matches(match[2], choices, n=1)
        meant = f"did you mean {near[0]}?   " if near else ""
        return f"argument {match[1]}: no {match[2][:64]!r}; {meant}there are {', '.join(choices)}"
    if match := re.match(r"argument ([^:]*): expected (one|at least one) argument$", message):
        return f"a value is missing after {', '.join(_described(parser, [match[1]]))}"
    return message


def _described(parser: argparse.ArgumentParser, names: Sequence[str]) -> Iterator[str]:
    """Each argument with what it is."""
    for name in names:
        known = [one for one in parser._actions if name in (one.metavar, one.dest, "/".join(one.option_strings))]
        action = known[0] if known else None
        if action is None:
            yield name
        elif action.choices:
            yield f"{name} ({', '.join(map(str, action.choices))})"
        else:
            value = f" {action.metavar}" if action.option_strings and isinstance(action.metavar, str) else ""
            yield f"{name}{value} ({(action.help or '') % {'default': action.default}})"


def _unknown(parser: argparse.ArgumentParser, given: Sequence[str]) -> str:
    first = given[0]
    options = [text for action in parser._actions for text in action.option_strings]
    if not first.startswith("-"):
        taken = [str(one.metavar or one.dest) for one in parser._actions if not one.option_strings]
        return f"what is {first[:64]!r}? {parser.prog} takes {' '.join(taken) or 'options alone'}"
    near = get_close_matches(first.partition("=")[0], options, n=1)
    meant = f"did you mean {near[0]}?" if near else ""
    if not meant and "--set" in options:
        meant = "a key of the recipe is given by --set KEY=VALUE"
    return f"no option {first[:64]}" + (f"; {meant}" if meant else "")
