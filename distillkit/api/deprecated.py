"""How something documented goes: its old form works for one release, and says the new one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from typing import Any, TypeVar

C = TypeVar("C", bound=type)


def deprecated(old: str, new: str) -> None:
    """Warn whoever called our caller that `old` is going, and what to write instead."""
    warnings.warn(f"{old} goes with distillkit 0.2: write {new} (docs/migrate.md)", DeprecationWarning, stacklevel=3)


def renamed(**names: str) -> Callable[[C], C]:
    """Let a class be made by keywords, and read by attributes, of their old names: `renamed(old="new")`."""

    def decorate(cls: C) -> C:
        init: Callable[..., None] = cls.__init__  # type: ignore[misc] # of this very class

        @wraps(init)
        def __init__(self: Any, *args: Any, **given: Any) -> None:
            for old in names.keys() & given.keys():
                deprecated(f"{cls.__name__}({old}=...)", f"{cls.__name__}({names[old]}=...)")
                given[names[old]] = given.pop(old)
            init(self, *args, **given)

        cls.__init__ = __init__  # type: ignore[misc]
        for old, new in names.items():
            setattr(cls, old, property(attrgetter(new)))
        return cls

    return decorate
