"""Adam whose moments take 8 bits: codes of a map with a scale for each 256 numbers (arXiv:2110.02861), by torchao."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from distillkit.api import Choice, Optimizer, UsageError
from distillkit.train.verbatim import Verbatim

BLOCK = 256  # numbers with a scale of their own
LEAST = 4096  # numbers of a tensor, below which 8 bits save nothing that anybody would notice
MOMENTS = {"exp_avg": True, "exp_avg_sq": False}  # by name: has it signs?


def quantization() -> Any:
    """torchao's maps and rounding. Raises UsageError where it is missing."""
    import_module("torch._dynamo").config  # noqa: B018 # the compiler itself where a stand-in has its place: torchao asks more
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of its extensions for hardware that is not here
    try:
        from torchao.optim import quant_utils
    finally:
        logging.disable(before)
    return quant_utils


def require() -> None:
    """Raises UsageError where torchao is missing; it is not imported, which takes a second."""
    if find_spec("torchao") is None:
        raise UsageError("run.state_bits = 8 needs torchao: pip install 'distillkit[torchao]'")


def refused(settings: Optimizer) -> str:
    """Why the moments of such an optimizer do not take 8 bits; "": they do."""
    name = settings.name.name if isinstance(settings.name, Choice) else settings.name
    return "" if name in ("adam", "adamw") else f"{name} keeps its state in 32 bits"


class Adam8bit(Verbatim):
    """Adam, or AdamW with `decoupled`, in float32 between moments of 8 bits; `found_inf` as in torch's fused Adam.

    torchao's own optimizers compile their step and know no update that is skipped.
    """

    found_inf: Tensor | None = None  # []: 1.0 leaves everything as it is

    def __init__(
        self, params: Sequence[nn.Parameter], lr: float, betas: tuple[float, float], eps: float, weight_decay: float,
        decoupled: bool,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        require()
        self.decoupled, self.device = decoupled, params[0].device
        if self.device.type == "meta":  # where memory is counted: shapes alone
            return
        self.torchao = quantization()
        # Here, and not at the first step: they are copies to the device.
        self.maps = {
            name: torch.tensor(self.torchao.create_dynamic_map(signed), device=self.device)
            for name, signed in MOMENTS.items()
        }

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override] # nobody here has a closure
        (group,) = self.param_groups
        for p in group["params"]:
            if p.grad is not None:
                self.move(p, group)

    def move(self, p: Tensor, group: dict[str, Any]) -> None:
        """One parameter, and its moments."""
        state, (beta1, beta2), lr = self.of(p), group["betas"], group["lr"]
        skipped = torch.zeros_like(state["step"]) if self.found_inf is None else self.found_inf
        t = state["step"] + 1 - skipped
        assert p.grad is not None, "`step` leaves these out"
        g = p.grad if self.decoupled else p.grad.add(p, alpha=group["weight_decay"])
        m = self.read(state, "exp_avg").lerp(g, 1 - beta1)
        v = (self.read(state, "exp_avg_sq") * beta2).addcmul_(g, g, value=1 - beta2)
        root = (v / (1 - beta2**t)).sqrt_().add_(group["eps"])
        after = p * (1 - lr * group["weight_decay"]) if self.decoupled else p
        after = after - lr * (m / (1 - beta1**t)) / root
        new = {"step": t, **self.written("exp_avg", m), **self.written("exp_avg_sq", v)}
        for name, value in new.items():
            state[name].copy_(torch.where(skipped > 0, state[name], value))
        p.copy_(torch.where(skipped > 0, p, after))

    def of(self, p: Tensor) -> dict[str, Tensor]:
        """Counter and moments of a parameter, made at its first gradient."""
        if not self.state[p]:
            self.state[p] = {"step": torch.zeros((), device=p.device)}
            for name in MOMENTS:
                self.state[p] |= self.written(name, torch.zeros_like(p))
        state: dict[str, Tensor] = self.state[p]
        return state

    def written(self, name: str, x: Tensor) -> dict[str, Tensor]:
        """A moment as it is kept: codes uint8 like x and scales [numbers / 256], or x itself where it is small."""
        if x.numel() < LEAST or x.numel() % BLOCK:
            return {name: x}
        if x.is_meta:
            return {name: torch.empty_like(x, dtype=torch.uint8), f"{name}_scale": x.new_empty(x.numel() // BLOCK)}
        scaled, scale = self.torchao.scale_tensor(x.contiguous(), BLOCK)
        return {name: self.torchao.quantize_8bit_with_qmap(scaled, self.maps[name]), f"{name}_scale": scale}

    def read(self, state: dict[str, Tensor], name: str) -> Tensor:
        """A moment in float32."""
        if f"{name}_scale" not in state:
            return state[name]
        if state[name].is_meta:
            return torch.empty_like(state[name], dtype=torch.float32)
        x: Tensor = self.torchao.dequant_with_qmap(state[name], self.maps[name], state[f"{name}_scale"])
        return x
