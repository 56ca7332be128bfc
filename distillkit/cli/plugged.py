"""Commands of plugins: known from metadata, and imported when one of them is asked for."""

from __future__ import annotations

import os
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, cast

from distillkit.api.errors import DistillkitError, PluginError

if TYPE_CHECKING:
    from distillkit.api import Command
    from distillkit.registry import Catalog, Offer

GROUP = b"[distillkit.command]"


@cache
def catalog() -> Catalog | None:
    """What is installed; None where nobody offers a command."""
    if not any(map(offering, sys.path)):
        return None
    from distillkit.registry import Catalog

    return Catalog.installed()


def offering(folder: str) -> bool:
    """Whether a distribution in a folder of sys.path offers a command.

    By its files: importlib.metadata takes a quarter of what `distillkit` alone does, for an answer that is mostly no.
    """
    try:
        with os.scandir(folder or ".") as entries:
            infos = [entry.path for entry in entries if entry.name.endswith("-info")]
    except OSError:  # a zip file, or nothing
        return False
    for info in infos:
        try:
            with open(os.path.join(info, "entry_points.txt"), "rb") as file:
                if GROUP in file.read():
                    return True
        except OSError:
            continue
    return False


def offers() -> dict[str, Offer]:
    """By name, but for those that two distributions offer, or one that may not be used."""
    found = catalog()
    every = [] if found is None else found.of("command")
    names = [offer.name for offer in every]
    return {offer.name: offer for offer in every if names.count(offer.name) == 1 and not offer.refused}


def left_out() -> Iterator[str]:
    """Why other commands are not there, a line each."""
    found = catalog()
    for issue in found.issues if found is not None else ():
        if "command" in issue.message:
            yield f"{issue.dist}: {issue.message}"


@cache
def made(name: str) -> Command:
    """The command of that name, which is installed. Raises Unusable."""
    cls = offers()[name].load()
    return cast("Command", cls(cls.Config()))


def add(name: str, parser: ArgumentParser) -> None:
    """Add its arguments. Raises PluginError that names its distribution."""
    command, offer = made(name), offers()[name]
    try:
        command.add(parser)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise PluginError(
            f'command "{name}" of {offer.dist} {offer.version} cannot add its arguments: {why}'
        ) from error


def add_whole(name: str, parser: ArgumentParser) -> None:
    """The same, where all commands are told: one that is broken is a warning."""
    try:
        add(name, parser)
    except DistillkitError as error:
        warnings.warn(str(error), stacklevel=1)
