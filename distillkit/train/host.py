"""Tensors that lie in the memory of the host and come to the device for their work; where that is the host, as ever.

Copies are queued on the device in the order of its work, both ways: nothing waits but who reads here, after `settle`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def away(tensor: Tensor) -> Tensor:
    """A copy in memory of the host that the device reads and writes by itself; of a tensor that is there, itself."""
    if tensor.device.type == "cpu":
        return tensor
    if tensor.is_meta:  # where memory is counted: a shape beside the device that takes none
        return torch.zeros((), dtype=tensor.dtype, device="cpu").expand(tensor.shape)
    # As it lies there, channels last or not.
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor)


def settle(device: torch.device) -> None:
    """Wait until what was sent to the host has arrived."""
    if device.type in ("cuda", "xpu"):
        getattr(torch, device.type).synchronize(device)


def kept(module: Any) -> Any:
    """The module with its tensors in the memory of the host."""
    return _placed(module, away)


def brought(module: Any, device: torch.device) -> Any:
    """The module on the device: itself where it is there, else a copy for as long as somebody holds it."""
    return _placed(module, lambda t: t if t.device.type == device.type else t.to(device, non_blocking=True))


def _placed(module: Any, place: Callable[[Tensor], Tensor]) -> Any:
    """The module itself where `place` leaves every tensor of it as it is, else a copy with what it gives."""
    if not isinstance(module, nn.Module):
        return module
    # A copy, and no change of place: whoever draws with the module beside us goes on with the one it has.
    found = {t: place(t.detach()) for t in (*module.parameters(), *module.buffers())}
    if all(new.device == old.device for old, new in found.items()):
        return module
    memo: dict[int, Any] = {
        id(t): nn.Parameter(new, t.requires_grad) if isinstance(t, nn.Parameter) else new for t, new in found.items()
    }
    return copy.deepcopy(module, memo)


class Moments:
    """An optimizer's state, which lies with the host but while the optimizer steps."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    @contextmanager
    def here(self) -> Iterator[None]:
        """Inside, the state is on the device, where the optimizer may make it, too."""
        known = {(p, name): value for p, name, value in self._all()}
        for (p, name), value in known.items():
            self.optimizer.state[p][name] = value.to(p.device, non_blocking=True)
        yield
        # Also what an update left as it was: only the device knows that it was skipped.
        self.send(known)

    def send(self, known: dict[tuple[Tensor, str], Tensor] | None = None) -> None:
        """Bring the state to the host, into the memory that it has there already."""
        for p, name, value in list(self._all()):
            # Memory that is pinned anew at each step would cost more than the copy.
            place = (known or {}).get((p, name))
            self.optimizer.state[p][name] = away(value) if place is None else place.copy_(value, non_blocking=True)

    def _all(self) -> Iterator[tuple[Tensor, str, Tensor]]:
        """Tensors of the size of weights; counts of steps stay where they are."""
        for p, values in self.optimizer.state.items():
            yield from ((p, name, value) for name, value in values.items() if isinstance(value, Tensor) and value.ndim)
