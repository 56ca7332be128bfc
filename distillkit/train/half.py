"""The lever `run.teacher_dtype`: a frozen network whose weights lie in bfloat16, half the bytes of float32.

Layers that autocast computes in bfloat16 take them as they are; what is computed in full precision (preconditioning,
embeddings, norms) reads a cast of them, so that no image and no noise level is rounded.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from distillkit.api import UsageError
from distillkit.train.state import State

DTYPES = {"bf16": torch.bfloat16}


def refused(state: State) -> str:
    """Why the weights of this teacher cannot be rounded; "": they can."""
    network = state.teacher and state.teacher.network
    return "" if isinstance(network, nn.Module) else "the recipe has no teacher that is a network"


def lower_teacher(state: State) -> None:
    """Round the teacher's weights, of which others have begun as copies. Raises UsageError if that rounds images."""
    assert state.teacher is not None, "it was refused"
    for teacher in (state.teacher, *state.teachers):
        if teacher.network is not None:
            _lowered(teacher.network, state)


def _lowered(network: Any, state: State) -> None:
    lower(network, DTYPES[str(state.recipe.run.teacher_dtype)])
    x = torch.zeros(1, *state.dataset.shape, device=state.device, dtype=state.dtype)
    with torch.no_grad():
        D = network(x, torch.ones(1, 1, 1, 1, device=state.device, dtype=state.dtype))
    # A score is (D - x) / sigma^2: of rounded images nothing is left of it at low noise.
    if D.dtype != state.dtype:
        raise UsageError("run.teacher_dtype: this teacher's network casts its images to the dtype of its weights")


def lower(network: nn.Module, dtype: torch.dtype) -> None:
    """Let the weights of a network that does not train lie in `dtype`, and its layers compute in it; buffers stay."""
    made: dict[int, nn.Parameter] = {}  # a weight that two layers share stays one
    for module in network.modules():
        held = {name: p for name, p in module._parameters.items() if p is not None and p.is_floating_point()}
        for name, p in held.items():
            made.setdefault(id(p), nn.Parameter(p.detach().to(dtype), requires_grad=False))
            module._parameters[name] = made[id(p)]
        if held:
            # Another class, as parametrizations have: modules read their own weights by name, whoever wrote them.
            full = next(iter(held.values())).dtype
            module.__class__ = _reading(type(module), tuple(held), full)  # type: ignore[arg-type]
    network.compute_dtype = dtype  # type: ignore[assignment] # an attribute, of which nn.Module knows nothing


@cache
def _reading(cls: type[nn.Module], names: tuple[str, ...], full: torch.dtype) -> type[nn.Module]:
    """The class, whose attributes `names` give weights in the dtype that the place asks for."""
    made: dict[str, Any] = {name: _weight(name, full) for name in names}
    made |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), made)


def _weight(name: str, full: torch.dtype) -> property:
    def read(module: nn.Module) -> Tensor:
        p: Tensor = module._parameters[name]  # type: ignore[assignment] # one that there is
        # Of vectors a cast costs nothing, and norms take no weights of another dtype than their images.
        return p if p.ndim > 1 and torch.is_autocast_enabled(p.device.type) else p.to(full)

    return property(read)
