"""Components as small as their classes say they can be: what smoke runs, contracts and random recipes take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from distillkit.api import Choice, Optimizer, PluginError
from distillkit.api.slots import AuxiliarySlot
from distillkit.recipe.keys import fields
from distillkit.recipe.shown import shown

Stand = Callable[[Choice[Any]], Choice[Any]]


def tiny(value: Any, stand_in: Stand = lambda choice: choice) -> Any:
    """A Choice, config or tuple of them with `tiny` of each class over it, parts included; nothing waits or warms up.

    `stand_in` is asked first what takes the place of a part. Raises PluginError for a `tiny` that its Config refuses.
    """
    if isinstance(value, tuple):
        return tuple(tiny(part, stand_in) for part in value)
    if isinstance(value, Choice):
        made = stand_in(value)
        return attrs.evolve(made, config=_least(made, tiny(made.config, stand_in)), slot=tiny(made.slot, stand_in))
    if not attrs.has(type(value)):
        return value
    parts = {one.name: tiny(getattr(value, one.name), stand_in) for one in fields(type(value)).values()}
    if isinstance(value, Optimizer):
        parts["warmup_kimg"] = 0.0
    if isinstance(value, AuxiliarySlot):
        parts["start_kimg"] = 0.0
    return attrs.evolve(value, **parts)


def _least(choice: Choice[Any], config: Any) -> Any:
    known, changes = fields(type(config)), {}
    for key, least in choice.cls.tiny.items():
        if key not in known:
            raise PluginError(f"{choice.cls.__name__}.tiny names the key {shown(key)}, which its Config does not have")
        now = getattr(config, known[key].name)
        changes[known[key].name] = min(now, least) if _is_number(now) and _is_number(least) else least
    try:
        return attrs.evolve(config, **changes)
    except (ValueError, TypeError) as error:
        raise PluginError(f"{choice.cls.__name__}.tiny: its Config refuses it: {error.args[0]}") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
