"""What is computed of real images once in a process, though each stage of a recipe and each evaluation asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import Tensor

from distillkit_metrics.layers import Layers

P = ParamSpec("P")
T = TypeVar("T")
KEPT = 16  # results of each function


def once(function: Callable[Concatenate[Layers, P], T]) -> Callable[Concatenate[Layers, P], T]:
    """The function of images' features, which keeps its latest results by what these and its other arguments hold."""
    known: dict[str, T] = {}

    def asked(pool: Layers, /, *args: P.args, **keys: P.kwargs) -> T:
        of = hashlib.sha256()
        for value in (*pool.by_distance, *pool.by_distance.values(), pool.groups, *args, *keys.items()):
            of.update(held(value))
        key = of.hexdigest()
        if key not in known:
            known[key] = function(pool, *args, **keys)
            if len(known) > KEPT:
                del known[next(iter(known))]
        return known[key]

    update_wrapper(asked, function)
    return asked


def held(value: Any) -> bytes:
    """A tensor's type, shape and numbers, or what else an argument is."""
    if isinstance(value, Tensor):
        return f"{value.dtype}{tuple(value.shape)}".encode() + value.detach().cpu().contiguous().numpy().tobytes()
    return repr(value).encode() + b"\0"
