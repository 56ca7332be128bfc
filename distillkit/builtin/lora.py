"""LoRA: of every large matrix W only a product of two thin ones trains, W + (alpha / rank) B A (arXiv:2106.09685).

In the layout of PEFT's files: A [rank,in,...], B [out,rank,...], of convolutions with A's kernel and a kernel of 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit.api import Adapter, UsageError, field, frozen, ge, gt, min_len, optional

PREFIX = "base_model.model."  # of names in PEFT's files
CONVOLUTIONS: dict[Any, Any] = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}


class Lora(Adapter):
    """LoRA: thin matrices beside the weights of linear layers and convolutions (arXiv:2106.09685)."""

    tiny = {"rank": 2, "targets": ("*",)}

    @frozen(kw_only=True)
    class Config:
        rank: int = field(default=16, validator=ge(1))  # inner width of the thin matrices
        alpha: float | None = field(default=None, validator=optional(gt(0)))
        """what they compute counts alpha / rank times; unset: once"""
        targets: tuple[str, ...] = field(default=("*",), validator=min_len(1))
        """names of layers, with * as in file names; of these, all whose weights are matrices larger than the rank"""

    config: Config

    @property
    def scale(self) -> float:
        return 1.0 if self.config.alpha is None else self.config.alpha / self.config.rank

    def apply(self, network: nn.Module) -> None:
        """A is uniform, B zero, as in PEFT. Raises UsageError for a pattern that names no such layer."""
        found = dict(self.layers(network))
        for pattern in self.config.targets:
            if not any(fnmatch(name, pattern) for name in found):
                if not found:
                    raise UsageError(f"generator.adapter.rank = {self.config.rank}: no layer has a larger matrix")
                raise UsageError(
                    f"generator.adapter.targets: no layer with a matrix larger than rank {self.config.rank} "
                    f"is named like {pattern!r}; one is {next(iter(found))!r}"
                )
        for name, module in found.items():
            if any(fnmatch(name, pattern) for pattern in self.config.targets):
                attach(module, self.config.rank, self.scale)

    def layers(self, network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Layers that could have them, by name: neither tables of embeddings nor what is as thin already."""
        for name, module in network.named_modules():
            weight = module._parameters.get("weight")
            if weight is None or weight.ndim < 2 or isinstance(module, nn.Embedding):
                continue
            if min(weight.shape[0], weight[0].numel()) > self.config.rank:
                yield name, module

    def merge(self, network: nn.Module) -> None:
        """Add B A to the weights, in place."""
        for _, module in adapted(network):
            weight = module._parameters["weight"]
            assert weight is not None, "it has an adapter"
            with torch.no_grad():
                weight.add_(product(module))
            del module._parameters["lora_A"], module._parameters["lora_B"]

    def saved(self, network: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """PEFT's own two files."""
        found = dict(adapted(network))
        tensors = {
            f"{PREFIX}{name}.{part}.weight": getattr(module, part).detach()
            for name, module in found.items() for part in ("lora_A", "lora_B")
        }  # fmt: skip
        alpha = self.config.rank if self.config.alpha is None else self.config.alpha
        return {
            "peft_type": "LORA", "r": self.config.rank, "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none",
            "target_modules": sorted(found), "base_model_name_or_path": None, "task_type": None,
        }, tensors  # fmt: skip


def adapted(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers that have adapters, by name."""
    return ((name, module) for name, module in network.named_modules() if "lora_A" in module._parameters)


def attach(module: nn.Module, rank: int, scale: float) -> None:
    """Give a layer its two matrices; it computes what it did."""
    weight = module._parameters["weight"]
    assert weight is not None, "it is one of `layers`"
    out, inner, *kernel = weight.shape
    made = {
        "lora_A": torch.empty(rank, inner, *kernel), "lora_B": torch.zeros(out, rank, *(1 for _ in kernel)),
    }  # fmt: skip
    nn.init.kaiming_uniform_(made["lora_A"], a=math.sqrt(5))
    for name, tensor in made.items():
        module.register_parameter(name, nn.Parameter(tensor.to(weight.device, weight.dtype)))
    module.lora_scale = scale  # type: ignore[assignment] # a number, of which nn.Module knows nothing
    # Another class, as parametrizations have, which is one for a copy of the module too.
    module.__class__ = _beside(type(module)) if beside(module) else _within(type(module))  # type: ignore[arg-type]


def product(module: nn.Module) -> Tensor:
    """(alpha / rank) B A, in the shape of the weight; never in half precision, which adding to W would need in full."""
    weight, A, B = (module._parameters[name] for name in ("weight", "lora_A", "lora_B"))
    assert weight is not None and A is not None and B is not None, "it has an adapter"
    with torch.autocast(weight.device.type, enabled=False):
        return (module.lora_scale * B.flatten(1) @ A.flatten(1)).reshape(weight.shape)  # type: ignore[operator]


def beside(module: nn.Module) -> bool:
    """Whether x goes through the thin matrices beside the weight, so that their product is never made.

    Not what others read the weight of (nn.MultiheadAttention), nor layers of a form of their own.
    """
    if type(module).forward is nn.Linear.forward:
        return type(module) is not nn.modules.linear.NonDynamicallyQuantizableLinear
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) or type(module) not in CONVOLUTIONS:
        return False
    return module.groups == 1 and module.padding_mode == "zeros"


@cache
def _beside(cls: type[nn.Module]) -> type[nn.Module]:
    """A linear layer or convolution of torch's, with a second path."""
    inner = cls.forward
    convolve = next((function for known, function in CONVOLUTIONS.items() if issubclass(cls, known)), None)

    def forward(self: Any, x: Tensor) -> Tensor:
        out: Tensor = inner(self, x)
        if "lora_A" not in self._parameters:
            return out
        if convolve is None:
            added = F.linear(F.linear(x, self.lora_A), self.lora_B)
        else:
            added = convolve(convolve(x, self.lora_A, None, self.stride, self.padding, self.dilation), self.lora_B)
        return torch.add(out, added, alpha=self.lora_scale)

    return _subclass(cls, {"forward": forward})


@cache
def _within(cls: type[nn.Module]) -> type[nn.Module]:
    """Any layer, which reads a weight that has the product in it."""

    def weight(self: nn.Module) -> Tensor | None:
        own = self._parameters["weight"]
        return own if own is None or "lora_A" not in self._parameters else own + product(self)

    return _subclass(cls, {"weight": property(weight)})


def _subclass(cls: type[nn.Module], parts: dict[str, Any]) -> type[nn.Module]:
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), names | parts)
