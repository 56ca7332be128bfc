"""What a training step does unseen: it waits for the device, or gives gradients to weights that do not train."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from distillkit.api import Dataset

# Operations whose result, or its size, the host must know before it can go on.
WAITING = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "unique_dim", "unique_consecutive", "_unique2",
    "bincount", "_linalg_eigh", "_linalg_svd", "linalg_inv_ex", "linalg_cholesky_ex", "_linalg_solve_ex",
}  # fmt: skip
FETCHING = {"tolist", "numpy", "cpu", "__array__"}  # methods of a tensor that bring it to the host
INDEXING = {"index", "index_put", "index_put_", "_unsafe_index"}
Args = tuple[Any, ...]
Keywords = dict[str, Any]
TORCH = str(Path(torch.__file__).parent)


@contextmanager
def waits(allowed: Collection[str] = ()) -> Iterator[list[str]]:
    """Inside, "file.py:function: operation" is noted each time the host waits for the device, as it would on a GPU.

    Not noted: data sets, whose images are the host's, and the places "file.py:function" in `allowed`.
    """
    found: list[str] = []
    methods = Methods(lambda operation: note(operation))

    def note(operation: str) -> None:
        if methods.on_the_device:
            return
        frames = list(stack(sys._getframe(2)))
        of_data = any(isinstance(frame.f_locals.get("self"), Dataset) for frame in frames)
        if not of_data and place(frames[0]) not in allowed:
            found.append(f"{place(frames[0])}: {operation}")

    with Operations(note), methods:
        yield found


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames from this one outwards that are neither torch's nor of this file."""
    while frame is not None:
        if not frame.f_code.co_filename.startswith(TORCH) and frame.f_code.co_filename != __file__:
            yield frame
        frame = frame.f_back


def place(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"


class Operations(TorchDispatchMode):
    """Sees what torch computes, within its own functions and in backward passes too."""

    def __init__(self, note: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch has not typed it
        self.note = note

    def __torch_dispatch__(self, func: Any, types: Any, args: Args = (), kwargs: Keywords | None = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITING or (name in INDEXING and masked(args[1])) or blocks(name, args, kwargs or {}):
            self.note(name)
        return func(*args, **(kwargs or {}))


def blocks(name: str, args: Args, kwargs: Keywords) -> bool:
    """Whether this copies from one device to another and the host waits; never so where all is on the CPU."""
    if name == "_to_copy":
        to, at = torch.device(kwargs.get("device") or args[0].device), args[0].device
        return to.type != at.type and not kwargs.get("non_blocking")
    return name == "copy_" and args[0].device.type != args[1].device.type and not any(args[2:])


def masked(indices: Any) -> bool:
    """Whether an index chooses by True and False: how many rows that gives is known to the device alone."""
    return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in indices)


class Methods(TorchFunctionMode):
    """Sees which methods are called: where all is on the CPU, torch itself need not copy anything for them."""

    def __init__(self, note: Any) -> None:
        super().__init__()
        self.note = note
        self.on_the_device = False  # inside a call that reads numbers on a CPU alone

    def __torch_function__(self, func: Any, types: Any, args: Args = (), kwargs: Keywords | None = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name == "one_hot" and counted(*args[1:2], **kwargs):
            self.on_the_device = True
            try:
                return func(*args, **kwargs)
            finally:
                self.on_the_device = False
        if name in FETCHING or (name == "to" and any(isinstance(a, str) and a == "cpu" for a in args[1:])):
            self.note(name)
        if name == "new_tensor" or (name in ("tensor", "as_tensor") and sends(args, kwargs)):
            self.note(name)
        return func(*args, **kwargs)


def counted(num_classes: int = -1, **_: Any) -> bool:
    """Whether `one_hot` is told how many classes there are: only a CPU then looks whether all are below that."""
    return num_classes >= 0


def sends(args: Args, kwargs: Keywords) -> bool:
    """Whether numbers of the host are made a tensor on a device, which waits for all that is under way there."""
    return "device" in kwargs and bool(args) and not isinstance(args[0], Tensor)


@contextmanager
def thawed(trained: Collection[Tensor]) -> Iterator[list[str]]:
    """Inside, modules are noted that compute with a graph though a weight, not `trained`, wants a gradient of it."""
    known = {id(p) for p in trained}
    found: list[str] = []

    def note(module: nn.Module, inputs: Any) -> None:
        own = module.named_parameters(recurse=False) if torch.is_grad_enabled() else ()
        found.extend(f"{type(module).__name__}.{name}" for name, p in own if p.requires_grad and id(p) not in known)

    handle = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield found
    finally:
        handle.remove()
