"""The last layer of a student, by whose gradients losses are weighed."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, cast

import torch
from torch import nn

from distillkit.api import State, UsageError


def candidates(state: State, pattern: str) -> list[nn.Parameter]:
    """Matrices and kernels of the student, the likeliest w last: by a pattern of names, or "" as they are called.

    Raises UsageError where there is none.
    """
    network = cast(nn.Module, state.generator)
    named = [(name, p) for name, p in network.named_parameters() if p.ndim > 1]
    found = [p for name, p in named if fnmatchcase(name, pattern)] if pattern else as_called(state, network)
    if not found:
        raise UsageError(f"[generator_loss] last_layer: no weight of the student is called {pattern!r}")
    return found


@torch.no_grad()
def as_called(state: State, network: nn.Module) -> list[nn.Parameter]:
    """Those of modules in the order in which a pass calls these."""
    called: list[nn.Parameter] = []

    def note(module: nn.Module, *given: Any) -> None:
        called.extend(p for p in module.parameters(recurse=False) if p.ndim > 1)

    handles = [module.register_forward_hook(note) for module in network.modules()]
    training = network.training
    x = torch.ones(1, *state.dataset.shape, device=state.device, dtype=state.dtype)
    try:
        network.eval()(x, x.new_ones(1, 1, 1, 1), x.new_zeros(1, state.layout.size) if state.layout.size else None)
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return called
