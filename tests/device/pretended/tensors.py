"""Tensors of the pretended device, each around a CPU tensor, and how operations on them are carried out."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from pretended import generators, rules
from pretended.notes import Refused, note

HERE = torch.device("cuda", 0)
CPU = torch.device("cpu")


class Pretend(torch.Tensor):
    """A tensor on `cuda:0`, so that torch's own kernels of CUDA's autocast and autograd apply to it."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretend:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=HERE, requires_grad=False,
        )  # fmt: skip
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return execute(func, args, kwargs or {})

    # With these nn.Module.to swaps tensors: parameters keep their identity, as on a GPU.

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], context: Any, size: Any, stride: Any) -> Pretend:
        return Pretend(parts["inner"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            with torch.no_grad():
                new: Tensor = Pretend(self.inner.detach().clone(memory_format=torch.preserve_format))
            new = torch.nn.Parameter(new, False) if isinstance(self, torch.nn.Parameter) else new
            memo[id(self)] = new.requires_grad_(self.requires_grad)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise Refused("a cuda tensor is pickled")

    def __repr__(self, **_: Any) -> str:
        return f"Pretend({self.inner!r})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else object.__format__(self, spec)

    def new_tensor(self, data: Any, **keys: Any) -> Tensor:
        note("copy", "new_tensor")
        return torch.tensor(data, **{"dtype": self.dtype, **keys, "device": "cpu"}).to(HERE, non_blocking=True)

    def tolist(self) -> Any:
        note("wait", "tolist")
        return self.inner.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


class Mode(TorchDispatchMode):
    """Sees operations that have no tensor of the device yet: those that make one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return execute(func, args, kwargs or {})


def execute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Carry out an operation on the CPU; what it gives is on the device if its arguments were, or it was asked for."""
    tensors = flat((args, kwargs))
    here = [t for t in tensors if isinstance(t, Pretend)]
    asked = kwargs.get("device")
    to_here = is_here(asked) if asked is not None else bool(here)
    if here or to_here:
        rules.check_devices(func, args, here, [t for t in tensors if not isinstance(t, Pretend)])
        rules.note_costs(func, args, kwargs, here, to_here)
    by_default = rules.check_generator(func, args, kwargs, to_here)
    on_cpu = {**kwargs, "device": CPU} if is_here(asked) else kwargs
    if func is torch.ops.aten._efficientzerotensor.default:  # of forward mode: it has no memory, which the CPU reads
        func = torch.ops.aten.zeros.default
    with generators.default_here() if by_default else nullcontext():
        out = func(*tree_map(unwrapped, args), **tree_map(unwrapped, on_cpu))
    return written(func, args, kwargs, out, wrapped if to_here else lambda value: value)


def written(func: Any, args: Any, kwargs: dict[str, Any], out: Any, wrap: Any) -> Any:
    """What an operation gives; results that are an argument which it wrote to are that argument itself."""
    schema = func._schema
    if not schema.is_mutable:
        return tree_map(wrap, out)
    by_name = {}
    for i, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            by_name |= dict.fromkeys(argument.alias_info.before_set, value)
            if any(isinstance(t, Pretend) and t.shape != t.inner.shape for t in flat(value)):
                raise NotImplementedError(f"{func} changes a shape in place, which is not pretended")
    if not schema.returns:
        return out
    several = len(schema.returns) > 1
    found = [
        by_name[next(iter(r.alias_info.before_set))] if r.alias_info is not None and r.alias_info.is_write
        else tree_map(wrap, value)
        for r, value in zip(schema.returns, out if several else (out,), strict=True)
    ]  # fmt: skip
    return tuple(found) if several else found[0]


def flat(value: Any) -> list[Tensor]:
    """The tensors in lists, tuples and tables."""
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [t for one in values for t in flat(one)]


def wrapped(value: Any) -> Any:
    return Pretend(value) if isinstance(value, torch.Tensor) else value


def unwrapped(value: Any) -> Any:
    return value.inner if isinstance(value, Pretend) else value


def is_here(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"
