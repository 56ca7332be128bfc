"""torch's "meta" device made fit for a whole training step: no numbers are computed, and none is needed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distillkit import noise
from distillkit.dry.memo import Memo
from distillkit.dry.uncompiled import uncompiled
from distillkit.noise.masks import masks_again

DEVICE = torch.device("meta")
HALVES = (torch.float32, torch.bfloat16, torch.float16)
GARBAGE = 100_000  # objects between two looks for it: graphs are made of many, and none of them is
COPY = torch.ops.aten.copy_.default
# What torch's compiler keeps for the backward pass beside convolutions and products, found by measuring (torch 2.13).
KEPT = {torch.ops.aten.native_group_norm.default, torch.ops.aten.native_layer_norm.default,
        torch.ops.aten.silu.default, torch.ops.aten.gelu.default}  # fmt: skip
READ = torch.ops.aten._local_scalar_dense.default  # what float(t), int(t), bool(t) and t.item() come to


class Live(TorchDispatchMode):
    """Bytes of a device's tensors that are alive, their peak, and the work done; a number read from a meta tensor is 1.

    FlopCounterMode's formulas without its tracking of modules, which torch.autograd.grad in a component does not bear.
    """

    def __init__(self, device: torch.device = DEVICE) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch has not typed it
        self.device = device
        self.bytes = self.peak = 0
        self.reads = 0  # numbers that were asked for, and made up
        self.memo = Memo()
        self.known: dict[int, object] = {}  # storages, and what waits for their end; views share one
        self.worked: set[int] = set()  # those that compiled passes would keep for their gradients

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and a wrapper against it costs as much as the rest of a call."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is READ and args[0].is_meta:
            self.reads += 1
            return torch.ones((), dtype=args[0].dtype, device="cpu").item()
        if func is COPY and args[1].is_meta and not args[0].is_meta:
            return args[0]  # weights into a buffer that is made on the CPU whatever the device
        before = self.memo.flops
        out = self.memo(func, args, kwargs or {})
        worked = self.memo.flops > before or func in KEPT
        for value in (out,) if isinstance(out, Tensor) else tree_leaves(out):
            if isinstance(value, Tensor) and value.device == self.device:
                self._see(value.untyped_storage(), worked)
        return out

    def restart(self) -> None:
        """Look for the peak, and count work, from here on."""
        self.peak, self.memo.flops = self.bytes, 0

    @property
    def flops(self) -> int:
        """Work since `restart`."""
        return self.memo.flops

    def _see(self, storage: torch.UntypedStorage, worked: bool) -> None:
        key = storage._cdata
        if key not in self.known:
            size = storage.nbytes()
            self.known[key] = weakref.ref(storage, partial(self._gone, key, size))
            self.bytes += size
            if worked:
                self.worked.add(key)
            self.peak = max(self.peak, self.bytes)

    def _gone(self, key: int, size: int, _: object) -> None:
        del self.known[key]
        self.worked.discard(key)
        self.bytes -= size


@contextmanager
def blank() -> Iterator[Live]:
    """Inside, tensors of the meta device are counted, and autocast does there what it does on a GPU."""
    before, torch.autocast = torch.autocast, Autocast  # type: ignore[misc, assignment]
    enabled, torch.is_autocast_enabled = torch.is_autocast_enabled, _autocasting  # type: ignore[assignment]
    again, noise.masks_again = noise.masks_again, _computed_again
    often = gc.get_threshold()
    gc.set_threshold(GARBAGE, *often[1:])
    try:
        with uncompiled(), Live() as live, _ways_out(live):
            yield live
    finally:
        torch.autocast, noise.masks_again = before, again  # type: ignore[misc]
        torch.is_autocast_enabled = enabled
        gc.set_threshold(*often)


@contextmanager
def _ways_out(live: Live) -> Iterator[None]:
    """The ways out of the meta device that never reach a dispatcher: a list is of ones, a copy stays where it is."""
    tolist, cpu = Tensor.tolist, Tensor.cpu

    def ones(x: Tensor) -> Any:
        if not x.is_meta:
            return tolist(x)
        live.reads += 1
        return torch.ones(x.shape, dtype=x.dtype, device="cpu").tolist()

    # Put before torch's own, which Tensor inherits: a mode of functions would stand before all the others too.
    Tensor.tolist = ones  # type: ignore[assignment, method-assign]
    Tensor.cpu = lambda x, *args, **named: x if x.is_meta else cpu(x, *args, **named)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del Tensor.tolist, Tensor.cpu


F = torch.nn.functional
# Of the lists in torch's documentation of CUDA autocast, what denoisers and feature networks call.
LOW = {
    torch.conv1d, torch.conv2d, torch.conv_transpose2d, F.conv1d, F.conv2d, F.conv_transpose2d, F.linear, torch.matmul,
    Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm, torch.bmm, Tensor.bmm, torch.addmm, torch.baddbmm,
    torch.einsum, F.scaled_dot_product_attention,
}  # fmt: skip
FULL = {
    torch.group_norm, F.group_norm, torch.layer_norm, F.layer_norm, F.softmax, torch.softmax, Tensor.softmax, torch.exp,
    Tensor.exp, torch.log, Tensor.log, torch.pow, Tensor.pow, torch.rsqrt, Tensor.rsqrt, torch.sum, Tensor.sum,
    torch.norm, Tensor.norm, F.softplus, F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.interpolate,
}  # fmt: skip


class Autocast(TorchFunctionMode):
    """torch.autocast, which knows no meta tensors, by the rules of a GPU; weights are cast once within it."""

    entered: list[Autocast] = []  # the innermost one decides

    def __init__(self, device_type: str, dtype: torch.dtype | None = None, enabled: bool = True, **_: Any) -> None:
        super().__init__()
        self.dtype = (dtype or torch.bfloat16) if enabled else None
        self.cast: dict[int, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> Self:
        self.entered.append(self)
        super().__enter__()  # type: ignore[no-untyped-call] # nor these two
        return self

    def __exit__(self, *error: Any) -> None:
        self.entered.pop()
        self.cast.clear()
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        to = None
        if self.dtype is not None and self.entered[-1] is self:
            to = self.dtype if func in LOW else torch.float32 if func in FULL else None
        if to is not None:
            args = tuple([self._to(value, to) for value in args])
            kwargs = {name: self._to(value, to) for name, value in (kwargs or {}).items()}
        return func(*args, **(kwargs or {}))

    def _to(self, value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, list | tuple):  # einsum's operands
            return [self._to(part, dtype) for part in value]
        if not isinstance(value, Tensor) or value.dtype not in HALVES or value.dtype == dtype:
            return value
        if not (value.is_leaf and value.requires_grad and dtype == self.dtype):
            return value.to(dtype)
        if id(value) not in self.cast:
            self.cast[id(value)] = value, value.to(dtype)
        return self.cast[id(value)][1]


class _Again(Autocast):
    """What torch.autocast was in a first pass, and the masks that it drew."""

    def __init__(self, masks: AbstractContextManager[None], dtype: torch.dtype | None) -> None:
        super().__init__("meta", dtype, dtype is not None)
        self.masks = masks

    def __enter__(self) -> Self:
        self.masks.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.masks.__exit__(kind, error, trace)


def _computed_again() -> tuple[AbstractContextManager[None], AbstractContextManager[Any]]:
    """`noise.masks_again`, and autocast again, which torch itself puts back where it is torch's own."""
    first, second = masks_again()
    return first, _Again(second, Autocast.entered[-1].dtype) if Autocast.entered else second


_enabled = torch.is_autocast_enabled


def _autocasting(*device_type: str) -> bool:
    """`torch.is_autocast_enabled`, which knows no meta tensors."""
    if device_type != ("meta",):
        return _enabled(*device_type)
    return bool(Autocast.entered) and Autocast.entered[-1].dtype is not None
