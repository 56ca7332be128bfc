"""The lever `run.compile`: the networks' passes in training, compiled by torch.compile.

One compiled function for each class and method, so that networks of one architecture share what is compiled; it is kept
beside the weights, never in them: names, files and copies are those of the network. Passes outside of turns (pictures,
metrics), of any batch size, are not compiled, nor those with forward-mode derivatives, which torch's compiler has not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.autograd import forward_ad

from distillkit import noise
from distillkit.api import ResourceError
from distillkit.api.explained import explained
from distillkit.api.network import METHODS

BACKEND = "inductor"  # tests take one that needs no C++ compiler
FORMS = 64  # of a function, at most: networks, training or not, sizes of a batch; beyond that torch stops compiling


def keep(folder: Path) -> None:
    """What is compiled is kept in `folder` for later runs, unless the user has named another one to torch."""
    # torch reads it at each compilation; its own default is a folder of /tmp that a reboot empties.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder.absolute() / "compiled"))


def ready(device: torch.device, folder: Path) -> None:
    """Compile something small: what is missing here is told before anything trains. Raises ResourceError."""
    keep(folder)
    try:
        import torch._dynamo  # seconds, for runs that ask for it

        # torch's 8 are soon used up by networks of one class, and beyond them it goes on uncompiled.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, FORMS)
        torch.compile(_small, backend=BACKEND)(torch.ones(8, device=device))
    except Exception as error:
        known = explained(error)
        if known is None:
            raise
        raise ResourceError(f"run.compile = true: {known}") from error


def _small(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1


def compiles(network: Any, trains: bool) -> None:
    """Compile a network's passes in place: `forward` and, of one that trains, what methods call beside it.

    Features of a frozen network may be differentiated twice (R1 penalties), which compiled passes cannot be.
    """
    wrap(network, trains, lambda function: in_passes(function, BACKEND))


def wrap(network: Any, trains: bool, by: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put `by(method)` in the place of each method whose passes are compiled."""
    for name in ("forward", *METHODS) if trains else ("forward",):
        if hasattr(network, name):
            method = getattr(network, name)
            function = method.__func__ if isinstance(method, MethodType) else getattr(type(network), name)
            # A bound method: a copy of the network has it as its own, by the same compiled function.
            setattr(network, name, MethodType(by(function), network))


@cache
def in_passes(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """The function, compiled where it is called in a pass of a turn."""
    # Sizes of a batch are few and stay: kernels of fixed sizes are faster than those of any.
    fast = torch.compile(function, backend=backend, dynamic=False)

    @wraps(function)
    def call(network: nn.Module, *given: Any, **named: Any) -> Any:
        # Asked at each call: the same network is drawn with between the turns.
        if not noise.in_a_pass() or forward_ad._current_level >= 0:
            return function(network, *given, **named)
        with noise.masks_from_here():
            beside = *given, *named.values()
            return fast(
                network, *(tensor(value, beside) for value in given),
                **{name: tensor(value, beside) for name, value in named.items()},
            )  # fmt: skip

    return call


def tensor(value: Any, beside: Sequence[Any]) -> Any:
    """A noise level that is a number, as a tensor: it would make a program of each of its values."""
    if not isinstance(value, float):
        return value
    device = next((other.device for other in beside if isinstance(other, torch.Tensor)), None)
    return torch.full((), value, dtype=torch.float64, device=device)
