"""Shapes of results, worked out once: torch takes long over them, and a network asks for the same ones again."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

OBJECTS = (torch.dtype, torch.device, torch.layout, torch.memory_format)
PLAIN = {int, str, type(None)}  # where equal, the same; 1, 1.0 and True are not
ZEROS = torch.ops.aten._efficientzerotensor.default


class Memo:
    """Calls an operation on meta tensors, or makes the like of what it made of such arguments before."""

    known: ClassVar[dict[Hashable, tuple[Any, int]]] = {}  # for all recipes of this process: it is a matter of torch
    kinds: ClassVar[dict[int, str]] = {}  # by id: hashing an operation is a call of its own

    def __init__(self) -> None:
        self.flops = 0  # of all calls so far, by torch's formulas, which see shapes alone

    def __call__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = id(func)
        if (kind := self.kinds.get(name)) is None:
            kind = self.kinds[name] = kind_of(func)
        try:
            key = (name, _sign(args), _sign(kwargs) if kwargs else None) if kind else None
        except _Other:
            key = None
        if key is not None and (found := self.known.get(key)) is not None:
            kept, flops = found
            self.flops += flops
            return args[0] if kind == "in place" else _made(kept)
        out = func(*args, **kwargs)
        count = flop_registry.get(getattr(func, "_overloadpacket", None))
        flops = count(*args, **kwargs, out_val=out) if count else 0
        self.flops += flops
        if key is not None and all(value.is_meta for value in tree_leaves(out) if isinstance(value, Tensor)):
            self.known[key] = _kept(out), flops
        return out


class _Other(Exception):
    """An argument whose values may decide the shape: a tensor that is not on the meta device, an object."""


def kind_of(func: Any) -> str:
    """What is known of its results: all are "new"; it is the first argument, of other content, "in place"; or ""."""
    if func is ZEROS:  # of a kind of its own, which nothing else makes: derivatives of constants
        return ""
    schema = func._schema
    changed = [part.alias_info is not None for part in schema.arguments]
    returned = [part.alias_info is not None for part in schema.returns]
    if not schema.is_mutable:
        return "" if any(changed) or any(returned) else "new"
    first = changed[0] and not any(changed[1:]) and returned == [True]
    return "in place" if first and schema.name.endswith("_") and torch.Tag.inplace_view not in func.tags else ""


def _sign(value: Any) -> Hashable:
    """What of an argument a result's shape depends on. Raises _Other."""
    if type(value) in PLAIN:
        return value  # type: ignore[no-any-return]
    if isinstance(value, Tensor):
        if not value.is_meta:
            raise _Other
        return value.shape, value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple([_sign(part) for part in value])
    if isinstance(value, dict):
        return tuple([(name, _sign(part)) for name, part in value.items()])
    if not isinstance(value, (bool, float, *OBJECTS)):
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
