"""Metric `power-ema`: averages of several widths beside the run's own, written as they are for post-hoc EMA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from distillkit.api import Evaluate, State, and_, deep_iterable, field, frozen, gt, hookimpl, lt, min_len
from distillkit_edm.edm2.posthoc import WIDEST, file_name, power_beta

WIDTH: Callable[[Any, Any, float], None] = and_(gt(0), lt(WIDEST))


class PowerEma(Evaluate):
    """Power-function averages of the generator, kept for post-hoc EMA (arXiv:2312.02696, Section 3).

    Each time it is asked it writes them to the run's figures/averages; `drift` is |average - weights| / |weights|.
    """

    better = {"drift_*": "none"}
    means = {"drift_*": "How far the average of this width is from the weights, in their own size."}

    @frozen(kw_only=True)
    class Config:
        sigma_rel: tuple[float, ...] = field(default=(0.05, 0.10), validator=[min_len(1), deep_iterable(WIDTH)])
        """widths of the averages, as a share of the run"""

    @hookimpl
    def setup(self, state: State) -> None:
        """Every average starts as the generator's weights."""
        self.averages = {s: [p.detach().clone() for p in self._weights(state)] for s in self.config.sigma_rel}

    @hookimpl
    def after_step(self, state: State) -> None:
        """Eq. (127) for each width; the first step copies the weights."""
        weights, nimg = self._weights(state), state.nimg + state.batch
        for sigma_rel, average in self.averages.items():
            torch._foreach_lerp_(average, weights, 1 - float(power_beta(sigma_rel, nimg, state.batch)))

    @hookimpl
    def evaluate(self, state: State) -> dict[str, float]:
        """The drift of each average; in a run the averages are written."""
        if state.figures is not None:
            self._write(state, state.figures / "averages")
        weights = self._weights(state)
        norm = torch.stack(torch._foreach_norm(weights)).norm()
        gaps = {s: torch.stack(torch._foreach_norm(torch._foreach_sub(a, weights))) for s, a in self.averages.items()}
        return {f"drift_{sigma_rel:g}": float(gap.norm() / norm) for sigma_rel, gap in gaps.items()}

    def _write(self, state: State, folder: Path) -> None:
        network = state.networks["generator"]
        folder.mkdir(parents=True, exist_ok=True)
        names = [name for name, _ in network.named_parameters()]
        buffers = dict(network.named_buffers())
        for sigma_rel, average in self.averages.items():
            tensors = {**buffers, **dict(zip(names, average, strict=True))}
            part = folder / ".part"
            safetensors.torch.save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, part)
            part.replace(folder / file_name(state.nimg, sigma_rel))

    def _weights(self, state: State) -> list[Tensor]:
        return [p.detach() for p in state.networks["generator"].parameters()]

    def state_dict(self) -> dict[str, Any]:
        return {f"{s:g}.{i}": t for s, average in self.averages.items() for i, t in enumerate(average)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for sigma_rel, average in self.averages.items():
            for i, tensor in enumerate(average):
                tensor.copy_(state[f"{sigma_rel:g}.{i}"])
