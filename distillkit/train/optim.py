"""An optimizer with its learning-rate schedule in images, clipping, and a flat state for checkpoints."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from distillkit.api import Choice, Optimizer, PluginError, Schedule
from distillkit.train import adam8, host
from distillkit.train.radam import RAdam
from distillkit.train.ranks import pieces
from distillkit.train.ranks.alone import Ranks
from distillkit.train.ruled import Ruled
from distillkit.train.shared import Shared

CLASSES = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "radam": RAdam}


def lr_at(settings: Optimizer, nimg: int, total: int) -> float:
    """Learning rate of the step that starts at `nimg` of `total` images: linear warm-up, then the schedule.

    "inverse_sqrt": constant up to `ref_kimg`, then lr / sqrt(nimg / ref). Source: arXiv:2312.02696, Eq. (67).
    """
    # In images, not in steps: another batch size keeps the schedule.
    warmup = settings.warmup_kimg * 1000
    lr = settings.lr * (min(nimg / warmup, 1.0) if warmup else 1.0)
    if isinstance(settings.schedule, Choice):
        return lr * planned(settings.schedule, nimg, total)
    if settings.schedule == "inverse_sqrt":
        lr /= math.sqrt(max(nimg / (settings.ref_kimg * 1000), 1.0))
    start = settings.decay_from * total
    if settings.schedule == "cosine" and nimg > start:
        progress = min((nimg - start) / max(total - start, 1), 1.0)
        lr *= settings.final_lr + (1 - settings.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))
    return lr


def planned(choice: Choice[Schedule], nimg: int, total: int) -> float:
    """The factor of a plugin's schedule. Raises PluginError for what is none."""
    factor = choice.build().factor(nimg, total)
    if not 0 <= factor < math.inf:
        raise PluginError(f"schedule {choice.name!r} gives lr the factor {factor!r} at {nimg} of {total} images")
    return factor


class Updater:
    """Steps the trainable parameters of one network."""

    def __init__(
        self, settings: Optimizer, network: nn.Module, frozen: frozenset[str] = frozenset(), ranks: Ranks | None = None,
        bits: int = 32,
    ) -> None:  # fmt: skip
        """`ranks`: those that may share the network; `bits`: of each number of the moments, 32 or 8."""
        self.settings, self.ranks = settings, ranks or Ranks()
        own = {name: p for name, p in network.named_parameters() if not isinstance(p, Shared)}
        named = {name: p for name, p in own.items() if name not in frozen}
        self.params = list(named.values())
        # What is here of each: the same memory, and plain tensors, which any optimizer takes.
        self.held = [nn.Parameter(pieces.local(p)) if pieces.cut(p) else p for p in self.params]
        self.optimizer: Any = (
            Ruled(settings.name, dict(zip(named, self.held, strict=True)), named, settings)
            if isinstance(settings.name, Choice)
            else self.own(settings, settings.name, bits)
        )
        self.moments: host.Moments | None = None  # where they lie with the host

    def own(self, settings: Optimizer, name: str, bits: int) -> torch.optim.Optimizer:
        """One of the engine's."""
        keys: dict[str, Any] = {
            "lr": settings.lr,
            "betas": settings.betas,
            "eps": settings.eps,
            "weight_decay": settings.weight_decay,
        }
        # Fused kernels obey `found_inf` without waiting; RAdam here does so by itself, and "meta" has no kernels.
        fused = {} if name == "radam" or self.params[0].is_meta else {"fused": True}
        if bits == 8:
            return adam8.Adam8bit(self.held, **keys, decoupled=name == "adamw")
        made: torch.optim.Optimizer = CLASSES[name](self.held, **keys, **fused)
        return made

    def offload(self) -> None:
        """Keep the optimizer's state in the memory of the host, but while it steps."""
        if self.params[0].device.type != "cpu":
            self.moments = host.Moments(self.optimizer)

    def norm(self) -> Tensor:
        """Norm [] of all gradients together; not finite if any of them is not."""
        grads = [p.grad for p in self.params if p.grad is not None]
        # A sum of squares is finite only where all its terms are: one number stands for every gradient.
        return self.ranks.norm(grads) if grads else self.params[0].new_zeros(())

    def step(self, nimg: int, total: int, skipped: Tensor | None = None) -> None:
        """One step at `nimg` of `total` images; skipped, bool []: True leaves weights and state as they are."""
        for p, held in zip(self.params, self.held, strict=True):
            if held is not p:
                held.grad = None if p.grad is None else pieces.local(p.grad)
        # Values before the norm, which is then that of the gradient which is used.
        if self.settings.clip_value is not None:
            nn.utils.clip_grad_value_(self.held, self.settings.clip_value)
        if self.settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.held, self.settings.clip_norm, self.norm())
        # From `nimg` at every step: a schedule has no state that a checkpoint could lose.
        self.optimizer.param_groups[0]["lr"] = lr_at(self.settings, nimg, total)
        if not self.params[0].is_meta:
            # torch's own door for mixed-precision scalers: the kernel reads the flag on the device.
            self.optimizer.found_inf = None if skipped is None else skipped.float()
        with nullcontext() if self.moments is None else self.moments.here():
            self.optimizer.step()
        for p, held in zip(self.params, self.held, strict=True):
            if held is not p:
                held.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """State by "<parameter number>/<name>"."""
        state: dict[int, dict[str, Any]] = self.optimizer.state_dict()["state"]
        return {
            f"{i}/{name}": pieces.like(value, self.params[i]) if value.ndim else value
            for i, values in state.items() for name, value in values.items()
        }  # fmt: skip

    def load(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            number, name = key.split("/")
            state.setdefault(int(number), {})[name] = pieces.local(value)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        if self.moments is not None:
            self.moments.send()
