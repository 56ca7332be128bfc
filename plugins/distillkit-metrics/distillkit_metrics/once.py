"""What is computed of real images once in a process, though each stage of a recipe and each evaluation asks for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import Tensor

from distillkit_metrics.layers import Layers
from distillkit_metrics.store import digest

P = ParamSpec("P")
T = TypeVar("T")
KEPT = 16  # results of each function


def once(function: Callable[Concatenate[Layers, P], T]) -> Callable[Concatenate[Layers, P], T]:
    """The function of images' features, which keeps its latest results by what these and its other arguments hold."""
    known: dict[Hashable, T] = {}

    def asked(pool: Layers, /, *args: P.args, **keys: P.kwargs) -> T:
        key = pool.digest, *map(held, args), *sorted(keys.items())
        if key not in known:
            known[key] = function(pool, *args, **keys)
            if len(known) > KEPT:
                del known[next(iter(known))]
        return known[key]

    update_wrapper(asked, function)
    return asked


def held(value: Any) -> Hashable:
    """A tensor by what it holds, anything else as it is."""
    return digest({"": value}) if isinstance(value, Tensor) else value
