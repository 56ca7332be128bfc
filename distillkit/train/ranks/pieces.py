"""Tensors of which each rank holds a piece, cut along their first dimension (DTensors), beside whole ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, cast

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.distributed.tensor import DTensor

FULL = 0.8  # share of a GPU's memory that weights, gradients and moments may take


def cut(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether this rank holds a piece of it alone."""
    return hasattr(tensor, "to_local")  # to import the class costs a process alone a second


def local(tensor: Tensor) -> Tensor:
    """What is here of a tensor, without gradient: the same memory."""
    return cast("Any", tensor.detach()).to_local() if cut(tensor) else tensor.detach()


def whole(tensor: Tensor) -> Tensor:
    """A tensor without gradient, the pieces of all ranks together: all of them ask at once."""
    return cast("Any", tensor.detach()).full_tensor() if cut(tensor) else tensor.detach()


def like(piece: Tensor, other: Tensor) -> Tensor:
    """A piece of a tensor that is cut as `other` is."""
    if not cut(other):
        return piece
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        piece, other.device_mesh, other.placements, run_check=False, shape=other.shape, stride=other.stride()
    )


def span(tensor: DTensor) -> tuple[int, int]:
    """First row of the piece that is here, and the one behind its last."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return (offset[0], offset[0] + shape[0]) if shape[0] else (0, 0)


def needed(networks: Sequence[nn.Module], device: torch.device, trained: int, size: int) -> int:
    """Ranks that must share each network: all where weights, gradients and moments do not fit a GPU, else 1."""
    if device.type != "cuda":
        return 1
    from torch import cuda

    held = sum(t.numel() * t.element_size() for net in networks for t in net.parameters())
    fits = held + 12 * trained < FULL * cuda.get_device_properties(device).total_memory
    return 1 if fits else size
