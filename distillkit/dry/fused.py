"""What passes keep for their gradients where `run.compile` is: less than as they are written.

The compiler keeps what convolutions, products, norms and activations made, and makes anew from it what gradients ask
for besides: concatenations, resampling, softmax, sums. Here that is let go of, and an empty one is made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.graph import saved_tensors_hooks

from distillkit import noise
from distillkit.dry.meta import Live
from distillkit.train.compiled import wrap
from distillkit.train.levers import compiling
from distillkit.train.state import State


def keep_little(state: State, live: Live) -> None:
    """Let the passes that would be compiled keep what compiled ones do."""
    for network, trains in compiling(state):
        wrap(network, trains, lambda function: _keeping(function, live))


def _keeping(function: Callable[..., Any], live: Live) -> Callable[..., Any]:
    @wraps(function)
    def call(network: Any, *given: Any, **named: Any) -> Any:
        if not noise.in_a_pass() or forward_ad._current_level >= 0:
            return function(network, *given, **named)
        with saved_tensors_hooks(partial(_kept, live, set(live.known)), _made_anew):
            return function(network, *given, **named)

    return call


def _kept(live: Live, before: set[int], x: Tensor) -> Any:
    """The tensor itself where the compiler keeps it, else how to make one like it."""
    key = x.untyped_storage()._cdata
    if x.is_leaf or key in before or key in live.worked or not x.is_meta:
        return x
    return x.size(), x.stride(), x.dtype


def _made_anew(kept: Any) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    size, stride, dtype = kept
    return torch.empty_strided(size, stride, dtype=dtype, device="meta")
