"""Networks in pieces (FSDP2): each rank keeps its share of weights, gradients and moments, and borrows the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from distillkit.api import Blocks
from distillkit.api.network import METHODS
from distillkit.train.recompute import names_blocks

BIG = 10_000_000  # parameters of a module that is borrowed by itself, where a network names no blocks


class Sharded:
    """The networks of a run that lie in pieces."""

    def __init__(
        self, networks: Iterable[nn.Module], size: int, shards: int, device: torch.device, refuse: Callable[[], None]
    ) -> None:
        """`shards` of the `size` ranks share each network, which is built; `refuse` raises where no pass may begin."""
        copies = (size // shards, shards)
        mesh = (
            init_device_mesh(device.type, (size,), mesh_dim_names=("shard",))
            if shards == size
            else init_device_mesh(device.type, copies, mesh_dim_names=("replicate", "shard"))
        )
        self.modules: list[FSDPModule] = []
        for root in {id(root): root for network in networks for root in called(network)}.values():
            # A tensor without dimensions cannot be cut: it stays whole, and its gradient is summed by hand.
            whole = {p for p in root.parameters() if p.ndim == 0}
            root.register_forward_hook(lambda module, given, output: _unviewed(output))
            parts = units(root)
            for module in (*parts, root):
                # Noise levels stay as they came, whatever the layers compute in.
                policy = MixedPrecisionPolicy(cast_forward_inputs=False)
                fully_shard(module, mesh=mesh, mp_policy=policy, ignored_params=whole)
                self._sums(cast(FSDPModule, module))
                # In one piece there is nothing to win within a turn, and a penalty on gradients goes back twice.
                cast(FSDPModule, module).set_reshard_after_backward(bool(parts), recurse=False)
            root.register_forward_pre_hook(lambda *given: refuse(), prepend=True)
            for name in METHODS:
                if hasattr(root, name):
                    setattr(root, name, _wrapped(getattr(root, name), after=_unviewed))
                    register_fsdp_forward_method(root, name)
                    setattr(root, name, _wrapped(getattr(root, name), before=refuse))

    def _sums(self, module: FSDPModule) -> None:
        """Losses are divided by the global batch already: gradients are summed, in every module by itself."""
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo has no other kind
        self.modules.append(module)

    def reshard(self) -> None:
        """Give back all that was borrowed: weights that were not would miss the next update."""
        for module in self.modules:
            module.reshard()


def called(network: nn.Module) -> Iterator[nn.Module]:
    """The network, or, where it is a mere list of networks, those that are called."""
    if type(network).forward is not nn.Module.forward:
        if next(network.parameters(), None) is not None:
            yield network
        return
    for child in network.children():
        yield from called(child)


def units(root: nn.Module) -> list[nn.Module]:
    """Parts that are borrowed one after the other, inner ones first."""
    if names_blocks(root):
        return list(cast(Blocks, root).blocks())
    inside = [
        module for module in root.modules() if module is not root and type(module).forward is not nn.Module.forward
    ]
    return [module for module in reversed(inside) if sum(p.numel() for p in module.parameters()) > BIG]


def _wrapped(
    method: Callable[..., Any], before: Callable[[], None] = lambda: None, after: Callable[[Any], Any] = lambda x: x
) -> Callable[..., Any]:
    @wraps(method)
    def call(*given: Any, **named: Any) -> Any:
        before()
        return after(method(*given, **named))

    return call


def _unviewed(output: Any) -> Any:
    """Outputs that are views as tensors of their own: FSDP listens at them for the way back."""
    if isinstance(output, list | tuple):
        return type(output)([_unviewed(one) for one in output])
    return output.clone() if isinstance(output, Tensor) and output._base is not None else output
