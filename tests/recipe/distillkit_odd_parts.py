"""Networks whose Configs are unusual, for the tests of what is read from a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from distillkit.api import Network, field, frozen, ge

if TYPE_CHECKING:
    from somewhere import Shape


@frozen
class Inner:
    """A table in a table."""

    shape: Shape


class Unreadable(Network):
    """A type that only a type checker sees, one class further in."""

    @frozen(kw_only=True)
    class Config:
        blocks: list[Inner] = field(factory=list)


class Converted(Network):
    """A value that its class converts."""

    @frozen(kw_only=True)
    class Config:
        size: int = field(default=1, converter=lambda size: 2 * size, validator=ge(4))
        depth: int = 3


class Neighbours(Network):
    """A check of one value against another, and types with entries."""

    @frozen(kw_only=True)
    class Config:
        low: int = 0
        high: int = field(default=5, validator=ge(1))
        mode: Literal["a", 1] = "a"
        deep: dict[str, tuple[int, str]] = field(factory=dict)

        @high.validator
        def _above(self, attribute: object, value: int) -> None:
            if value <= self.low:
                raise ValueError(f"'high' must be > low = {self.low}: {value}")


class Broken(Network):
    """A validator with a bug."""

    @frozen(kw_only=True)
    class Config:
        size: int = field(default=1)

        @size.validator
        def _check(self, attribute: object, value: int) -> None:
            raise RuntimeError("a bug of the plugin")


@frozen(kw_only=True)
class Tree:
    """A table with tables of its own kind."""

    size: int = field(default=1, validator=ge(1))
    branches: tuple[Tree, ...] = ()


class Recursive(Network):
    """A type that holds itself."""

    @frozen(kw_only=True)
    class Config:
        tree: Tree = field(factory=Tree)
