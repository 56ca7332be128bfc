"""A small fully connected denoiser, for points of the plane and quick tests."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from distillkit.api import Network, added_later, field, frozen, ge, gt, in_
from distillkit.convert import FurtherInputs
from distillkit.noise import SIGMA_DATA


class Mlp(Network):
    """Fully connected layers on the flat image, EDM or consistency form (arXiv:2206.00364, 2303.01469)."""

    tiny = {"width": 16, "depth": 2}

    @frozen(kw_only=True)
    class Config:
        width: int = field(default=64, validator=ge(1))  # units of a hidden layer
        depth: int = field(default=3, validator=ge(1))  # hidden layers
        sigma_data: float = field(default=SIGMA_DATA, validator=gt(0))  # standard deviation of the data
        preconditioning: str = field(default="edm", validator=in_(("edm", "consistency", "ect")))
        """form of the denoiser; "ect": EDM's in training, the consistency form in evaluation"""
        boundary: float = field(default=0.002, validator=ge(0))  # sigma where the consistency form is the identity
        second_time: bool = field(default=False, metadata=added_later(as_before=False))
        """an input for the noise level to jump to, beside that of the image: for flow maps"""
        guidance: bool = field(default=False, metadata=added_later(as_before=False))
        """an input for the scale of guidance, the last entry of labels"""

    def module(self, resolution: int, channels: int, label_dim: int) -> nn.Module:
        return MlpDenoiser(resolution, channels, label_dim, self.config)


class MlpDenoiser(nn.Module):
    """D(x; sigma, labels) [N,C,H,W]; D = 0 * F at first, so it starts as c_skip * x."""

    augment_dim, sigma_min, sigma_max = 0, 0.0, math.inf
    compute_dtype: torch.dtype | None = None

    def __init__(self, resolution: int, channels: int, label_dim: int, config: Mlp.Config) -> None:
        super().__init__()
        self.resolution, self.channels, self.label_dim = resolution, channels, label_dim
        self.sigma_data = config.sigma_data
        self.boundary = 0.0 if config.preconditioning == "edm" else config.boundary
        self.boundary_in_training = config.preconditioning != "ect"
        size = channels * resolution**2
        self.second_time = config.second_time
        further = FurtherInputs(config.width, label_dim, second_time=config.second_time, guidance=config.guidance)
        self.classes = further.classes
        widths = [size + 2 + self.classes] + [config.width] * config.depth
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.out = nn.Linear(config.width, size)
        nn.init.zeros_(self.out.weight)
        self.further = further

    def blocks(self) -> list[nn.Module]:
        return [*self.hidden, self.out]

    def forward(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None, *,
        r: Tensor | float | None = None,
    ) -> Tensor:  # fmt: skip
        sigma = self._column(sigma, x)
        return self._denoised(x, sigma, self._hidden(x, sigma, labels, self.hidden, r)[-1])

    def encoder_features(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> list[Tensor]:
        """Outputs [N,width,1,1], before their SiLU, of the layers that stand for an encoder: the first half of all."""
        encoder = self.hidden[: (len(self.hidden) + 1) // 2]
        return [_map(h, x) for h in self._hidden(x, self._column(sigma, x), labels, encoder)]

    def denoised_features(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """D [N,C,H,W] and the same maps, from one pass."""
        sigma = self._column(sigma, x)
        hidden = self._hidden(x, sigma, labels, self.hidden)
        maps = [_map(h, x) for h in hidden[: (len(hidden) + 1) // 2]]
        return self._denoised(x, sigma, hidden[-1]), maps

    def encoder(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """Logits [N,1,1,1]: the mean over channels of the last of them, as in a U-Net."""
        return self.encoder_features(x, sigma, labels)[-1].mean(1, keepdim=True)

    def encoder_decoder(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """D [N,C,H,W] and the encoder's logits [N,1,1,1] from one pass."""
        sigma = self._column(sigma, x)
        hidden = self._hidden(x, sigma, labels, self.hidden)
        bottleneck = hidden[(len(hidden) + 1) // 2 - 1]
        return self._denoised(x, sigma, hidden[-1]), _map(bottleneck, x).mean(1, keepdim=True)

    def _column(self, sigma: Tensor, x: Tensor) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        return sigma.reshape(-1, 1, 1, 1).expand(x.shape[0], 1, 1, 1)

    def _hidden(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None, layers: nn.ModuleList, r: Tensor | float | None = None
    ) -> list[Tensor]:
        """Outputs [N,width] of `layers` before their SiLU."""
        labels, scale = self.further.split(labels)
        added = self.further(sigma.flatten(), r, scale)
        c_noise = sigma.log() / 4
        rows = [(x / self._norm(sigma)).flatten(1), c_noise.flatten(1), torch.sin(4 * c_noise).flatten(1)]
        if self.classes:
            rows.append(x.new_zeros(x.shape[0], self.classes) if labels is None else labels.to(x.dtype))
        found: list[Tensor] = []
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.compute_dtype is not None):
            h = torch.cat(rows, 1)
            for layer in layers:
                found.append(layer(silu(found[-1]) if found else h))
                if len(found) == 1 and added is not None:
                    found[0] = found[0] + added
        return found

    def _denoised(self, x: Tensor, sigma: Tensor, last: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.compute_dtype is not None):
            F: Tensor = self.out(silu(last))
        F = F.to(x.dtype).reshape(x.shape)
        above = sigma - (self.boundary if self.boundary_in_training or not self.training else 0.0)
        c_skip = self.sigma_data**2 / (above**2 + self.sigma_data**2)
        D: Tensor = c_skip * x + above * self.sigma_data / self._norm(sigma) * F
        return D

    def _norm(self, sigma: Tensor) -> Tensor:
        return (sigma**2 + self.sigma_data**2).sqrt()


def _map(h: Tensor, x: Tensor) -> Tensor:
    """[N,width] -> a map of one pixel [N,width,1,1] of x's dtype."""
    return h.to(x.dtype)[:, :, None, None]
