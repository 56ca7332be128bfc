"""Modules that a peer imports and its image methods never use: pretended where they are not installed."""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Nothing(type):
    """Type of classes that have any attribute, and it is None."""

    def __getattr__(cls, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class Stub(ModuleType):
    """A module in which every name is an empty class."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(name, (), {})


class Finder(MetaPathFinder, Loader):
    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        parts = name.split(".")
        if any(".".join(parts[: i + 1]) in self.names for i in range(len(parts))):
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Stub(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def pretend(missing: tuple[str, ...], always: tuple[str, ...] = ()) -> None:
    """Pretend top-level modules of `missing` that are not installed, and those of `always` in any case."""
    absent = {name for name in missing if importlib.util.find_spec(name) is None}
    sys.meta_path.insert(0, Finder(absent | set(always)))
