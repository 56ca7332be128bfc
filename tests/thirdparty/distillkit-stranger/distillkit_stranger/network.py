"""A convolution or two."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distillkit.api import Network, field, frozen, ge


class Stranger(Network):
    """Two convolutions."""

    @frozen(kw_only=True)
    class Config:
        width: int = field(default=8, validator=ge(1))  # channels between them

    config: Config

    def module(self, resolution: int, channels: int, label_dim: int) -> nn.Module:
        return Convolutions(resolution, channels, label_dim, self.config.width)


class Convolutions(nn.Module):
    """D = c_skip x + c_out F(c_in x, ln sigma, labels)."""

    augment_dim, sigma_min, sigma_max, sigma_data = 0, 0.002, 80.0, 0.5

    def __init__(self, resolution: int, channels: int, label_dim: int, width: int) -> None:
        super().__init__()
        self.resolution, self.channels, self.label_dim = resolution, channels, label_dim
        self.compute_dtype: torch.dtype | None = None
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.told = nn.Linear(1 + label_dim, width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1).expand(len(x), 1, 1, 1)
        labels = x.new_zeros(len(x), self.label_dim) if labels is None else labels.to(x.dtype)
        total = sigma**2 + self.sigma_data**2
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.compute_dtype is not None):
            told = self.told(torch.cat([sigma.flatten(1).log() / 4, labels], 1))
            F = self.last(nn.functional.silu(self.first(x / total.sqrt()) + told[:, :, None, None]))
        return self.sigma_data**2 / total * x + sigma * self.sigma_data / total.sqrt() * F.to(x.dtype)
