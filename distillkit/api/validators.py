"""Validators of the engine's own keys, with the attributes of attrs' own, so that what they allow can be told."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from distillkit.api.choice import Choice


@frozen
class AutoOrNumber:
    """The word "auto", or a number that is not negative."""

    options: tuple[str, ...] = ("auto",)
    compare_op: str = ">="
    bound: float = 0

    def __call__(self, instance: Any, attribute: Any, value: float | str) -> None:
        if value != "auto" and (isinstance(value, str) or value < 0):
            raise ValueError(f"'{attribute.name}' must be \"auto\" or a number >= 0: {value!r}")


@frozen
class NameOrChoice:
    """A name of the engine's own, or a component of a plugin."""

    options: tuple[str, ...]

    def __call__(self, instance: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, Choice) and value not in self.options:
            names = ", ".join(map(repr, self.options))
            raise ValueError(f"'{attribute.name}' must be in {names} (got {value!r})", attribute, self.options, value)
