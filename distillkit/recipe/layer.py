"""Layers of a recipe, each value with the place it came from, and how one lies over another."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from distillkit.recipe.problem import Key


@frozen
class Origin:
    """Where a value was written."""

    file: str
    line: int | None = None


@frozen
class Layer:
    """Tables, and the origin of their keys; a key without one has that of the table around it."""

    data: dict[str, Any]
    origins: dict[Key, Origin] = field(factory=dict)

    def origin(self, key: Key) -> Origin:
        while key not in self.origins and key:
            key = key[:-1]
        return self.origins.get(key, Origin(""))


def stamped(data: dict[str, Any], origin: Origin) -> Layer:
    """A layer whose values all come from one place."""
    return Layer(data, dict.fromkeys(_keys(data, ()), origin))


def overlay(low: Layer, high: Layer) -> Layer:
    """`high` over `low`: tables merge, all else is replaced, and so is a table whose `use` is another one."""
    replaced: set[Key] = set()
    data = _merge(low.data, high.data, (), replaced)
    kept = {key: at for key, at in low.origins.items() if not any(key[:n] in replaced for n in range(len(key) + 1))}
    return Layer(data, kept | high.origins)


def _merge(low: Any, high: Any, at: Key, replaced: set[Key]) -> Any:
    both = isinstance(low, dict) and isinstance(high, dict)
    if not both or ("use" in high and "use" in low and high["use"] != low["use"]):
        replaced.add(at)
        return high
    merged = dict(low)
    for key, value in high.items():
        merged[key] = _merge(low[key], value, (*at, key), replaced) if key in low else value
    return merged


def _keys(value: Any, at: Key) -> list[Key]:
    """The key of every table, list entry and value beneath."""
    below: list[Key] = []
    if isinstance(value, dict):
        below = [key for name, part in value.items() for key in _keys(part, (*at, name))]
    elif isinstance(value, list | tuple):
        below = [key for n, part in enumerate(value) for key in _keys(part, (*at, n))]
    return [at, *below] if at else below
