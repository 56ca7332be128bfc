"""Weights that several networks of a run hold together and none trains: the base of adapters, in memory once.

Copies of a network have the very tensors; what is stored, averaged, updated and sent is the rest.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import Adapter, Choice, UsageError


class Shared(nn.Parameter):
    """Such a weight: it never takes a gradient, and a copy of it is itself."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        return self


def freeze(network: Any) -> None:
    """Let the weights of a network be shared by all its copies from here on."""
    made: dict[int, Shared] = {}  # a weight that two layers share stays one
    for module in network.modules():
        for name, p in module._parameters.items():
            if p is not None and not isinstance(p, Shared):
                module._parameters[name] = made.setdefault(id(p), Shared(p.detach(), requires_grad=False))


def like(network: Any, source: Any) -> Any:
    """The network with the shared weights of `source`, of which it has copies, in their place."""
    known = {name: p for name, p in source.named_parameters(remove_duplicate=False) if isinstance(p, Shared)}
    for place, module in network.named_modules():
        for name, p in module._parameters.items():
            shared = known.get(f"{place}.{name}".removeprefix("."))
            if shared is not None and p is not None and p.shape == shared.shape:
                module._parameters[name] = shared
    return network


def own(network: Any, of: Any = None) -> dict[str, Tensor]:
    """The state dict without what is shared in the network, or in the one that it is a copy `of`."""
    shared = names(network if of is None else of)
    return {name: tensor for name, tensor in network.state_dict().items() if name not in shared}


def load(network: Any, tensors: Mapping[str, Tensor], of: Any = None) -> None:
    """Put back what `own` gave. Raises RuntimeError where names or shapes do not fit."""
    shared = names(network if of is None else of)
    if not shared:
        network.load_state_dict(tensors)
        return
    found = network.load_state_dict(tensors, strict=False)
    if wrong := [*found.unexpected_keys, *(name for name in found.missing_keys if name not in shared)]:
        raise RuntimeError(f"missing or unexpected: {wrong[0]}")


def names(network: Any) -> set[str]:
    """Names of the weights that it shares."""
    return {name for name, p in network.named_parameters(remove_duplicate=False) if isinstance(p, Shared)}


def trains(module: nn.Module) -> bool:
    """Whether it has weights of its own, or none at all."""
    found = list(module.parameters())
    return not found or not all(isinstance(p, Shared) for p in found)


def adapt(choice: Choice[Adapter], network: Any, seed: int, number: int) -> None:
    """Give a network whose weights are shared its own adapter, the `number`th of the run."""
    with torch.random.fork_rng(devices=[]):  # the numbers of all else stay as they are
        torch.default_generator.manual_seed(noise.fold(seed, "adapter", number))
        choice.build().apply(network)
    if all(isinstance(p, Shared) for p in network.parameters()):
        raise UsageError(f"generator.adapter: {choice.name!r} adds no weights to this network: nothing would train")


def merged(choice: Choice[Adapter], network: Any) -> Any:
    """A network of its own that computes the same, without adapters: what a result is."""
    # By the memo: a copy of a shared weight is itself.
    memo: dict[int, Any] = {
        id(p): nn.Parameter(p.detach().clone(), requires_grad=False)
        for p in network.parameters() if isinstance(p, Shared)
    }  # fmt: skip
    twin = copy.deepcopy(network, memo)
    choice.build().merge(cast(nn.Module, twin))
    return twin
