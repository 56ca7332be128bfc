"""Who holds the memory that stays between turns: each network by its role, and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from attrs import frozen
from torch import Tensor, nn

from distillkit.api import Component
from distillkit.train.state import State


@frozen(kw_only=True)
class Role:
    """One network of a run, or several of one part; bytes."""

    name: str
    parameters: int
    weights: int  # buffers too
    gradients: int = 0
    optimizer: int = 0


def roles(state: State, kept: int) -> list[Role]:
    """List every network of the recipe with its bytes, and as the last what else is kept of the `kept` bytes.

    Weights that several networks share are those of the teacher or, where it has others, of the generator.
    """
    ema, teacher = cast(nn.Module, state.ema), cast(nn.Module | None, state.teacher and state.teacher.network)
    taught, counted = [], set[int]()
    if teacher is not None:
        taught.append(_frozen("teacher", [teacher], counted))
    found = [_trained(name, network, state, counted) for name, network in state.networks.items()]
    found.insert(1, _frozen("generator's average", [ema], counted))
    found += taught
    seen = {id(p) for network in (*state.networks.values(), ema, teacher) for p in _tensors(network)}
    for place, component in state.components.items():
        modules = [m for m in _modules(component) if not {id(p) for p in _tensors(m)} & seen]
        seen |= {id(p) for m in modules for p in _tensors(m)}
        if any(True for m in modules for _ in _tensors(m)):
            found.append(_frozen(f"networks of {place.partition('.')[0]}", modules, counted))
    rest = kept - sum(role.weights + role.optimizer for role in found)
    return [*found, Role(name="features and averages kept", parameters=0, weights=max(rest, 0))]


def _trained(name: str, network: nn.Module, state: State, counted: set[int]) -> Role:
    updater = state.updaters[name]
    moments = [value for values in updater.optimizer.state.values() for value in values.values()]
    role = _frozen(name, [network], counted)
    return Role(
        name=name, parameters=role.parameters, weights=role.weights, gradients=sum(p.nbytes for p in updater.params),
        optimizer=sum(value.nbytes for value in moments if isinstance(value, Tensor) and value.is_meta),
    )  # fmt: skip


def _frozen(name: str, networks: list[nn.Module], counted: set[int]) -> Role:
    """What of the networks is not `counted` yet; from here on it is."""
    own = {id(t): t for network in networks for t in _tensors(network) if id(t) not in counted}
    counted.update(own)
    weights = {id(p) for network in networks for p in network.parameters()}
    return Role(
        name=name, parameters=sum(t.numel() for key, t in own.items() if key in weights),
        weights=sum(t.nbytes for t in own.values() if t.is_meta),  # not what the host has
    )  # fmt: skip


def _tensors(network: nn.Module | None) -> Iterator[Tensor]:
    if network is not None:
        yield from network.parameters()
        yield from network.buffers()


def _modules(value: Any, depth: int = 3) -> list[nn.Module]:
    """Find the networks that a component holds in its attributes, in lists, and in objects of its own."""
    if isinstance(value, nn.Module):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [module for part in value for module in _modules(part, depth)]
    own = isinstance(value, Component) or type(value).__module__.startswith("distillkit_")
    if not own or not depth or not hasattr(value, "__dict__"):
        return []
    return [module for part in vars(value).values() for module in _modules(part, depth - 1)]
