"""Packages that are commands too: `distillkit.run` is where runs are made, and `distillkit.run(recipe)` makes one.

Python has one name for both, since a package is an attribute of the one around it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class Command(ModuleType):
    """A package that can be called: the function of its name in distillkit.python.calls."""

    def __call__(self, *args: Any, **keys: Any) -> Any:
        # By name: what is called is the top of the house, and no room here may know of it.
        return getattr(import_module("distillkit.python.calls"), self.__name__.rpartition(".")[2])(*args, **keys)


def command(package: str) -> None:
    """Make a package one, by its own name; called by its __init__."""
    sys.modules[package].__class__ = Command
