"""What in torch is not dispatched, and so is replaced: torch.cuda, makers of tensors, TorchScript, threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._pytree import tree_map

from pretended import generators
from pretended.notes import Refused, note
from pretended.tensors import HERE, Mode, Pretend, flat, is_here, unwrapped, wrapped

FACTS = SimpleNamespace(name="pretended", total_memory=8 << 30, major=9, minor=0, multi_processor_count=1)
ANSWERS: dict[str, Any] = {  # of torch.cuda
    "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0, "synchronize": None,
    "is_bf16_supported": True, "get_device_name": FACTS.name, "get_device_properties": FACTS,
    "get_device_capability": (9, 0), "memory_allocated": 0, "max_memory_allocated": 0, "memory_reserved": 0,
    "reset_peak_memory_stats": None, "empty_cache": None, "is_current_stream_capturing": False, "_lazy_init": None,
    "set_device": None,
}  # fmt: skip


def on() -> None:
    """Pretend, for good and in every thread that is started from here on."""
    cuda: Any = torch.cuda
    for name, value in ANSWERS.items():
        setattr(cuda, name, lambda *_, value=value, **__: value)
    torch.Tensor.pin_memory = lambda x, *_: x  # type: ignore[method-assign] # memory of the host, as before
    cuda.manual_seed = cuda.manual_seed_all = generators.default.manual_seed
    cuda.get_rng_state = lambda *_: generators.default.get_state()
    cuda.set_rng_state = lambda state, *_: generators.default.set_state(state)
    torch.Generator = generators.Generator  # type: ignore[misc, assignment]
    tensor = torch.tensor
    for name in ("tensor", "as_tensor", "asarray"):
        setattr(torch, name, maker(name, getattr(torch, name), tensor))
    scripted(torch.jit.RecursiveScriptModule)
    run = threading.Thread.run

    def in_mode(thread: threading.Thread) -> None:
        with Mode():
            run(thread)

    threading.Thread.run = in_mode  # type: ignore[method-assign]
    Mode().__enter__()


def maker(name: str, real: Callable[..., Any], tensor: Callable[..., Any]) -> Callable[..., Any]:
    """torch.tensor and its like, which send numbers of the host to a device behind the dispatcher's back."""

    def make(data: Any, *args: Any, device: Any = None, **keys: Any) -> Any:
        if not is_here(device):
            if name == "as_tensor" and isinstance(data, Pretend) and device is None and not keys:
                return data
            return real(data, *args, **keys) if device is None else real(data, *args, device=device, **keys)
        if isinstance(data, torch.Tensor) and real is not tensor:
            return data.to(device=device, dtype=keys.get("dtype") or (args[0] if args else data.dtype))
        note("copy", name)
        wants_grad = keys.pop("requires_grad", False)
        made = real(data, *args, device="cpu", **keys)
        return made.to(device, non_blocking=True).requires_grad_(wants_grad)

    return make


def scripted(script: Any) -> None:
    """TorchScript modules, whose weights cannot be wrapped: they know where they are, and are given CPU tensors."""
    to, call = script.to, script.__call__

    def moved(self: Any, *args: Any, **keys: Any) -> Any:
        device = keys.get("device", args[0] if args else None)
        if not isinstance(device, str | torch.device | int):
            return to(self, *args, **keys)
        self.__dict__["pretended"] = is_here(device)
        return self

    def called(self: Any, *args: Any, **keys: Any) -> Any:
        here = bool(self.__dict__.get("pretended"))
        if any(isinstance(t, Pretend) != here for t in flat((args, keys)) if t.dim()):
            raise Refused(f"a TorchScript module on {HERE if here else 'cpu'} is given a tensor of another device")
        out = call(self, *tree_map(unwrapped, args), **tree_map(unwrapped, keys))
        return tree_map(wrapped, out) if here else out

    def applied(self: Any, change: Any, recurse: bool = True) -> Any:  # by the `to` of a module around it
        moved(self, change(torch.zeros(1)).device)
        return self

    script.to, script.__call__, script.cpu = moved, called, lambda self: moved(self, "cpu")
    script._apply = applied
