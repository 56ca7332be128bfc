"""Validators of the engine's own keys, with the attributes of attrs' own, so that what they allow can be told."""

from __future__ import annotations

from typing import Any

from attrs import frozen


@frozen
class AutoOrNumber:
    """The word "auto", or a number that is not negative."""

    options: tuple[str, ...] = ("auto",)
    compare_op: str = ">="
    bound: float = 0

    def __call__(self, instance: Any, attribute: Any, value: float | str) -> None:
        if value != "auto" and (isinstance(value, str) or value < 0):
            raise ValueError(f"'{attribute.name}' must be \"auto\" or a number >= 0: {value!r}")
