"""The lever `run.channels_last`: images and weights of convolutions with their channels side by side in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from distillkit.api import UsageError


def channels_last(networks: Iterable[Any]) -> None:
    """Lay out the weights [O,I,h,w] of the networks, and whatever images they are called with, by NHWC."""
    for network in networks:
        # In place: optimizers and averages hold these very parameters.
        network.to(memory_format=torch.channels_last)
        network.register_forward_pre_hook(entering)


def entering(network: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Images come as they come. Raises UsageError where torch cannot go on.

    Methods beside `forward` need no hook: their first convolution changes the layout.
    """
    # torch's forward mode takes group norms apart by views, which this layout does not allow.
    if forward_ad._current_level >= 0 and any(isinstance(module, nn.GroupNorm) for module in network.modules()):
        raise UsageError("run.channels_last does not go with forward-mode derivatives of a network with group norms")
    return tuple(laid_out(value) for value in given)


def laid_out(value: Any) -> Any:
    # Of [N,C,H,W] alone: other inputs, and anything of one pixel, come out as they went in.
    images = isinstance(value, Tensor) and value.ndim == 4 and value[0].numel() > 1  # sigma [N,1,1,1] has no layout
    return value.contiguous(memory_format=torch.channels_last) if images else value


def convolves(network: nn.Module) -> bool:
    """Whether the network has weights with a layout."""
    return any(p.ndim == 4 for p in network.parameters())
