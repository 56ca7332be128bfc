"""The derivative of a function of networks along a direction, in forward mode or by a difference: `step.jvp`.

Weights are constants of it. torch multiplies their tangents of zeros too: half again as much work as a pass needs.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from distillkit import noise
from distillkit.api import UsageError

if TYPE_CHECKING:
    from distillkit.train.state import State

LAYERS = {F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
NORMS = {F.group_norm, torch.group_norm}
Ends = tuple[Tensor | float, Tensor | float]
LEVEL = threading.RLock()  # torch has one level of forward mode for all threads, and simulated ranks are threads


def jvp(
    state: State, f: Callable[..., Tensor], at: Sequence[Tensor], along: Sequence[Tensor], ends: Ends | None = None
) -> tuple[Tensor, Tensor]:
    """f(*at) with its graph and, without one, its derivative along the tensors `along`, of the shapes of `at`.

    One pass, unless the run changes how a pass goes: then that one first, and another for the derivative alone, with
    the same masks and in the dtype of the weights. Raises UsageError where a layer has no derivative in forward mode.
    With `ends` by their difference, in two passes more.
    """
    if ends is None and not changed(state):
        return dual(f, at, along)
    # The masks of the value are those of its derivative: dropout is a part of the function.
    with noise.masks_kept(state.device):
        value = f(*at)
    with torch.no_grad(), wide(state):
        return value, dual(f, at, along)[1] if ends is None else slope(state, f, at, along, ends)


def slope(state: State, f: Callable[..., Tensor], at: Sequence[Tensor], along: Sequence[Tensor], ends: Ends) -> Tensor:
    """(f(at + b along) - f(at + a along)) / (b - a), under the same masks."""
    a, b = ends
    with noise.masks_kept(state.device):
        behind = f(*(x + a * v for x, v in zip(at, along, strict=True)))
    return (f(*(x + b * v for x, v in zip(at, along, strict=True))) - behind) / (b - a)


def changed(state: State) -> bool:
    """Whether passes with a graph are others than the derivative can take."""
    run = state.recipe.run
    # Compiled, forgetful and lent layers know no forward mode: the plain pass keeps what they win.
    half = state.compute_dtype is not None
    return half or run.compile or run.checkpoint_activations or state.ranks.shards > 1


@contextmanager
def wide(state: State) -> Iterator[None]:
    """Inside, layers run in the dtype of their weights: the digits of a derivative are those of small differences."""
    copies = (copy.module for copy in state.copies.values())
    # A teacher may have weights of bf16 themselves, and is never differentiated so.
    networks: list[Any] = [net for net in (*state.networks.values(), *copies) if hasattr(net, "compute_dtype")]
    before = [net.compute_dtype for net in networks]
    try:
        for net in networks:
            net.compute_dtype = None
        yield
    finally:
        for net, dtype in zip(networks, before, strict=True):
            net.compute_dtype = dtype


@cache
def registered() -> None:
    """torch registers derivatives at their first use, by a function of its own that it calls deprecated."""
    with LEVEL, warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)
        forward_ad.make_dual(torch.zeros(()), torch.zeros(()))


def dual(f: Callable[..., Tensor], at: Sequence[Tensor], along: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """f(*at), and its derivative without a graph, from one pass."""
    registered()
    try:
        # Of kinds of attention, the one that is made of products has a derivative.
        with LEVEL, forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH), ConstantWeights():
            pairs = [forward_ad.make_dual(x, v) for x, v in zip(at, along, strict=True)]
            value, derivative = forward_ad.unpack_dual(f(*pairs))
    except (RuntimeError, NotImplementedError) as error:
        if "forward AD" not in str(error) and "forward mode AD" not in str(error):
            raise
        # What else fails is a bug, and keeps its traceback.
        why = str(error).splitlines()[0]
        raise UsageError(
            f"this network has no derivative in forward mode: {why}; where a method has a key h, differences need none"
        ) from error
    return value, torch.zeros_like(value) if derivative is None else derivative.detach()


class ConstantWeights(TorchFunctionMode):
    """Layers are linear: the tangent of what comes out is that of what comes in, times the weights, without bias."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func in NORMS:  # their derivative takes images apart by views
            return func(args[0].contiguous(), *args[1:], **named)
        if func not in LAYERS or len(args) < 2:
            return func(*args, **named)
        x, v = forward_ad.unpack_dual(args[0])
        # Weights that depend on what moves (a modulated convolution) are torch's own to differentiate.
        moving = (*args[1:3], named.get("bias"))
        if v is None or any(p is not None and forward_ad.unpack_dual(p).tangent is not None for p in moving):
            return func(*args, **named)
        # x without its tangent: what autograd saves of it for the way back would hold that too.
        y = func(x, *args[1:], **named)
        with torch.no_grad():  # what led to v is kept no longer
            named.pop("bias", None)
            along = func(v, args[1], None, *args[3:], **named)
        return forward_ad.make_dual(y, along)
