"""Analysis `layer-activation`: which layers of the teacher work at which noise level (arXiv:2405.20750, Figure 3).

A block's value at sigma is the mean |h| of its last convolution's output h, for x + sigma n of real images x. Each
block's values are scaled to [0,1] over the noise levels. Encoder and decoder are told apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import Denoiser, Evaluate, State, UsageError, field, frozen, ge, hookimpl
from distillkit_gdd.heatmap import heatmap

CHUNK = 128  # images per pass


class LayerActivation(Evaluate):
    """Activation of the teacher's layers over noise levels, as a figure and data in the run's folder."""

    better = {"peak_sigma_*": "none"}
    means = {"peak_sigma_*": "Noise level at which this layer of the teacher answers most."}

    tiny = {"levels": 3, "images": 16}

    @frozen(kw_only=True)
    class Config:
        levels: int = field(default=18, validator=ge(2))  # noise levels of EDM's grid
        images: int = field(default=128, validator=ge(1))  # real images
        seed: int = field(default=0, validator=ge(0))  # of the images and their noise

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError for a teacher without layers to look into."""
        if state.teacher is None or state.teacher.network is None:
            raise UsageError("layer-activation looks into a teacher that is a network; this recipe has none")
        last_convolutions(state.teacher.network)

    @hookimpl
    def evaluate(self, state: State) -> dict[str, float]:
        """Noise level of the strongest activation, geometric mean over the blocks of encoder and decoder."""
        sigmas = noise.rho_grid(torch.linspace(0, 1, self.config.levels, dtype=torch.float64))
        values = self.measure(state, sigmas)
        scaled = {name: minmax(v) for name, v in values.items()}
        if state.figures is not None:
            state.figures.mkdir(parents=True, exist_ok=True)
            data = {"sigma": sigmas.tolist(), "value": {name: v.tolist() for name, v in values.items()}}
            (state.figures / "layer-activation.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
            (state.figures / "layer-activation.svg").write_text(heatmap(scaled, sigmas.tolist()), encoding="utf-8")
        return {f"peak_sigma_{side}": peak(scaled, sigmas, side) for side in ("encoder", "decoder")}

    @torch.no_grad()
    def measure(self, state: State, sigmas: Tensor) -> dict[str, Tensor]:
        """Mean |h| [levels] of the last convolution of every block, by "encoder/<block>" and "decoder/<block>"."""
        assert state.teacher is not None and state.teacher.network is not None, "setup asks for one"
        network, n = state.teacher.network, min(self.config.images, len(state.dataset))
        layers = last_convolutions(network)
        values = {name: torch.zeros(len(sigmas), dtype=torch.float64) for name in layers}
        for first in range(0, n, CHUNK):
            index = torch.arange(first, min(first + CHUNK, n))
            x = state.dataset.images(index).to(state.device, state.dtype)
            labels = state.dataset.labels(index)
            labels = None if labels is None else labels.to(x)
            z = noise.rows("randn", self.config.seed, "layer-activation", first, len(x), tuple(x.shape[1:])).to(x)
            for i, sigma in enumerate(sigmas):
                for name, size in activations(network, layers, x + float(sigma) * z, sigma.to(x), labels).items():
                    values[name][i] += size * len(x) / n
        return values


def last_convolutions(network: Denoiser) -> dict[str, nn.Module]:
    """The last convolution of every block of a U-Net: the output of attention where there is one."""
    model = getattr(network, "model", None)
    halves = {"encoder": getattr(model, "enc", {}), "decoder": getattr(model, "dec", {})}
    convolutions = {
        f"{side}/{name}": getattr(block, "proj", None) or block.conv1
        for side, half in halves.items()
        for name, block in half.items()
        if hasattr(block, "conv1")
    }
    if not convolutions:
        raise UsageError(
            f"layer-activation needs a U-Net with encoder and decoder blocks, not {type(network).__name__}"
        )
    return convolutions


def activations(
    network: Denoiser, layers: dict[str, nn.Module], x: Tensor, sigma: Tensor, labels: Tensor | None
) -> dict[str, float]:
    """Mean |h| of each layer's output in one call of the network."""
    sizes: dict[str, float] = {}

    def listen(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        return lambda layer, given, h: sizes.update({name: float(h.detach().double().abs().mean())})

    handles = [layer.register_forward_hook(listen(name)) for name, layer in layers.items()]
    try:
        network(x, sigma, labels)
    finally:
        for handle in handles:
            handle.remove()
    return sizes


def minmax(values: Tensor) -> Tensor:
    """[levels] scaled to [0,1]; zeros where nothing varies."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)


def peak(scaled: dict[str, Tensor], sigmas: Tensor, side: str) -> float:
    peaks = [sigmas[v.argmax()].log() for name, v in scaled.items() if name.startswith(side)]
    return float(torch.stack(peaks).mean().exp())
