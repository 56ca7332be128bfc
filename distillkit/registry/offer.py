"""One component that an installed distribution offers: text until `load()`."""

from __future__ import annotations

import importlib
from functools import reduce
from typing import Any

import attrs
from attrs import frozen

from distillkit.api import KINDS, Component
from distillkit.api.slots import SLOTS
from distillkit.registry import numerics
from distillkit.registry.errors import Unusable
from distillkit.registry.source import summary


@frozen
class Offer:
    """A line of an entry-point group `distillkit.<kind>`, as its distribution wrote it."""

    kind: str
    name: str
    target: str  # "module:Class"
    dist: str
    version: str
    refused: str = ""  # why it may not be used, known from the metadata alone
    roots: tuple[str, ...] = ()  # folders of an editable install, where its source may be

    @property
    def summary(self) -> str:
        """First line of the class docstring; nothing is imported."""
        return summary(self.target, self.roots)

    @property
    def numerics(self) -> str:
        """What fingerprints hold of the distribution; nothing is imported. Raises Unusable if it cannot be read."""
        try:
            return numerics.token(numerics.declared(self.target.partition(":")[0], self.roots), self.version)
        except ValueError as error:
            raise self._unusable(str(error)) from error

    def load(self) -> type[Component]:
        """Import the class and check that it is what the group promises.

        Raises Unusable (a PluginError) that names the distribution, the cause and the way out.
        """
        if self.refused:
            raise self._unusable(self.refused)
        module, _, attribute = self.target.partition(":")
        try:
            found: Any = reduce(getattr, attribute.split("."), importlib.import_module(module))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, and what pytest's importorskip raises
            cause = str(error).strip().partition("\n")[0]
            raise self._unusable(f"{type(error).__name__}: {cause}") from error
        wrong = _wrong(found, self.kind)
        if wrong:
            raise self._unusable(wrong)
        component: type[Component] = found
        return component

    def _unusable(self, cause: str) -> Unusable:
        own = self.dist == "distillkit"
        return Unusable(
            f'{self.kind} "{self.name}" of {self.dist} {self.version} ({self.target}) cannot be used: {cause}',
            "reinstall distillkit" if own else f"pip uninstall {self.dist}, or set DISTILLKIT_DISABLE={self.dist}",
        )


def _wrong(found: Any, kind: str) -> str:
    base = KINDS[kind]
    if not (isinstance(found, type) and issubclass(found, base)):
        return f"it is no subclass of distillkit.api.{base.__name__}"
    if not attrs.has(found.Config):
        return "its Config is no attrs class"
    keys = {field.name for field in attrs.fields(found.Config)}
    taken = keys & {"use", *(field.name for field in attrs.fields(SLOTS[kind]))}
    if taken:
        return f"its Config has the keys {', '.join(sorted(taken))}, which the table of a {kind} already has"
    if not isinstance(getattr(found, "recipe_defaults", {}), dict):
        return "its recipe_defaults is no dict of tables"
    return ""
