"""Blocks of networks that keep their inputs alone, and are computed once more in the backward pass."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from functools import cache, partial
from typing import Any, cast

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.utils.checkpoint import checkpoint

from distillkit import noise
from distillkit.api import Blocks


def recompute(networks: Iterable[nn.Module]) -> None:
    """Let every block of the networks forget, where gradients are wanted, what it computes within.

    Names in state dicts, hooks, and passes without gradients stay as they are.
    """
    for network in networks:
        for block in filter(repeatable, blocks(network)):
            # Another class, as fully_shard does: a copy of the module is one that forgets as well.
            block.__class__ = _forgetful(type(block))  # type: ignore[arg-type]


def refused(networks: Iterable[nn.Module]) -> str:
    """Why nothing of them can be computed twice; "": something can."""
    if any(repeatable(block) for network in networks for block in blocks(network)):
        return ""
    return "no network has blocks: a method blocks() that lists them, or an nn.ModuleList"


def repeatable(block: nn.Module) -> bool:
    """Whether a second pass is the first one again: none that keeps statistics of its passes."""
    return not any(
        isinstance(m, _SpectralNorm) or (isinstance(m, _NormBase) and m.track_running_stats) for m in block.modules()
    )


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Parts of a network that are computed apart, none within another: those it names, else members of its lists."""
    if names_blocks(module):
        yield from cast(Blocks, module).blocks()
        return
    # None within another: the outer one is computed again with all that is in it.
    listed = isinstance(module, nn.ModuleList | nn.ModuleDict)
    for child in module.children():
        if listed and not names_blocks(child) and type(child).forward is not nn.Module.forward:
            yield child
        else:
            yield from blocks(child)


def names_blocks(module: nn.Module) -> bool:
    """Whether it is `Blocks`: many a network calls a list of modules the same."""
    return inspect.ismethod(getattr(module, "blocks", None))


@cache
def _forgetful(cls: type[nn.Module]) -> type[nn.Module]:
    """The class, with a forward pass that keeps its arguments alone."""
    inner = cls.forward

    def forward(self: nn.Module, *args: Any, **keys: Any) -> Any:
        # Asked in every pass: the same network is drawn with, and graded by a frozen teacher.
        # A second pass would be without the tangents of forward mode: there all is kept.
        if not torch.is_grad_enabled() or forward_ad._current_level >= 0:
            return inner(self, *args, **keys)
        return checkpoint(partial(inner, self), *args, use_reentrant=False, context_fn=noise.masks_again, **keys)

    made = {"forward": forward, "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), made)
