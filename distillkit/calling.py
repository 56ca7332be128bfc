"""Packages that are commands too: `distillkit.run` is where runs are made, and `distillkit.run(recipe)` makes one.

Python has one name for both, since a package is an attribute of the one around it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class Command(ModuleType):
    """A package that can be called: the function of its name in distillkit.python.calls."""

    def __call__(self, *args: Any, **keys: Any) -> Any:
        return _function(self)(*args, **keys)

    @property
    def __signature__(self) -> Signature:
        """What notebooks show, and complete, for `distillkit.run(`."""
        return signature(_function(self))


def _function(package: ModuleType) -> Any:
    # By name: what is called is the top of the house, and no room here may know of it.
    return getattr(import_module("distillkit.python.calls"), package.__name__.rpartition(".")[2])


def command(package: str) -> None:
    """Make a package one, by its own name; called by its __init__."""
    sys.modules[package].__class__ = Command
