"""A GPU's rules: which operations may mix devices, which generators fit, what makes the host wait."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pretended.generators import Real, is_here
from pretended.notes import Refused, note

aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default,
    aten.is_nonzero.default, aten._unique2.default, aten.unique_dim.default, aten.unique_consecutive.default,
    aten.repeat_interleave.Tensor, aten.bincount.default, aten.allclose.default,
}  # fmt: skip
COPIES = {aten._to_copy.default, aten.copy_.default, aten._foreach_copy_.default}
INDEXING = {
    aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default,
    aten._unsafe_index.Tensor, aten._unsafe_index_put.default,
}  # fmt: skip
# Pointwise in all but their tag.
SCALARS = {
    aten.where.self, aten.lerp.Scalar, aten.lerp.Tensor, aten.masked_fill.Tensor, aten.masked_fill_.Tensor,
    aten.fill_.Tensor, aten.fill.Tensor, aten.clamp.Tensor, aten.addcmul.default,
}  # fmt: skip


def check_devices(func: Any, args: Any, here: list[Tensor], others: list[Tensor]) -> None:
    """Refuse an operation on tensors of both devices, but for copies, indices of the CPU and its single numbers."""
    if not here or not others or func in COPIES:
        return
    if func in INDEXING and args[0] in Same(here) and (len(args) < 3 or args[2] in Same(here) or args[2].dim() == 0):
        return note("index", func)  # copied to the device
    pointwise = torch.Tag.pointwise in func.tags or func in SCALARS
    into_cpu = func._schema.is_mutable and args[0] not in Same(here)
    if not pointwise or into_cpu or any(t.dim() for t in others):
        shapes = [tuple(t.shape) for t in others]
        raise Refused(f"{func}: tensors on cuda:0, and of shapes {shapes} on the cpu")


class Same:
    """Tensors by identity: `==` compares their numbers."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.ids = {id(t) for t in tensors}

    def __contains__(self, value: object) -> bool:
        return id(value) in self.ids


def check_generator(func: Any, args: Any, kwargs: dict[str, Any], to_here: bool) -> bool:
    """Refuse a generator of the other device -> whether the device's default one is asked."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    given = kwargs.get("generator") or next((a for a in args if isinstance(a, Real)), None)
    if given is None:
        return to_here
    if is_here(given) != to_here:
        names = "cpu", "cuda"
        raise Refused(f"{func}: a {names[not to_here]} generator for a {names[to_here]} tensor")
    return False


def note_costs(func: Any, args: Any, kwargs: dict[str, Any], here: list[Tensor], to_here: bool) -> None:
    """Note what makes the host wait."""
    if func in WAITS or ("linalg" in str(func) and func is not aten.linalg_vector_norm.default):  # others report errors
        note("wait", func)
    elif func is aten._to_copy.default and bool(here) != to_here:
        if here or not kwargs.get("non_blocking"):
            note("wait" if here else "copy", func)
    elif func is aten.copy_.default and (args[0] in Same(here)) != (args[1] in Same(here)):
        queued = bool(args[2:] and args[2])
        if args[1] in Same(here) and not (queued and args[0].is_pinned()):
            note("wait", func)
        elif args[0] in Same(here) and not queued:
            note("copy", func)
    elif func in INDEXING and any(t in Same(here) and t.dtype in (torch.bool, torch.uint8) for t in args[1] or []):
        note("wait", f"{func} by a mask")
