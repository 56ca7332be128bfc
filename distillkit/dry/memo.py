"""Shapes of results, worked out once: torch takes long over them, and a network asks for the same ones again."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

PLAIN = (bool, int, float, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(None))


class Memo:
    """Calls an operation on meta tensors, or makes the like of what it made of such arguments before."""

    def __init__(self) -> None:
        self.known: dict[Hashable, Any] = {}

    def __call__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            key = (func, _sign(args), _sign(kwargs)) if fresh(func) else None
        except _Other:
            key = None
        if key is None:
            return func(*args, **kwargs)
        if key in self.known:
            return _made(self.known[key])
        out = func(*args, **kwargs)
        if all(value.is_meta for value in tree_leaves(out) if isinstance(value, Tensor)):
            self.known[key] = _kept(out)
        return out


class _Other(Exception):
    """An argument whose values may decide the shape: a tensor that is not on the meta device, an object."""


@cache
def fresh(func: Any) -> bool:
    """Whether all its results are new tensors: none is an argument, changed or seen in another way."""
    schema = func._schema
    return not schema.is_mutable and all(part.alias_info is None for part in (*schema.arguments, *schema.returns))


def _sign(value: Any) -> Hashable:
    """What of an argument a result's shape depends on. Raises _Other."""
    if isinstance(value, Tensor):
        if not value.is_meta:
            raise _Other
        return value.shape, value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple(map(_sign, value))
    if isinstance(value, dict):
        return tuple((name, _sign(part)) for name, part in value.items())
    if not isinstance(value, PLAIN):
        raise _Other
    return type(value), value


def _kept(out: Any) -> Any:
    """The result with descriptions in place of tensors."""
    if isinstance(out, Tensor):
        return tuple(out.shape), out.stride(), out.dtype, out.device
    return [_kept(part) for part in out] if isinstance(out, list | tuple) else out


def _made(kept: Any) -> Any:
    if isinstance(kept, list):
        return tuple(map(_made, kept))
    if isinstance(kept, tuple):
        shape, stride, dtype, device = kept
        return torch.empty_strided(shape, stride, dtype=dtype, device=device)
    return kept
