"""EDM2's network D: EDM's preconditioning, and what the network thinks of its own error."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distillkit_edm.edm2.layers import MPConv, MPFourier
from distillkit_edm.edm2.unet import Edm2UNet
from distillkit_edm.precond import EdmPrecond


class Edm2Precond(EdmPrecond):
    """D(x; sigma) around EDM2's U-Net, with u(sigma) = ln of the expected error where `logvar_channels` > 0."""

    inner = "unet"

    def __init__(
        self, unet: Edm2UNet, resolution: int, channels: int, label_dim: int, logvar_channels: int, **form: Any
    ) -> None:
        super().__init__(unet, resolution, channels, label_dim, 0, **form)
        self.logvar_channels = logvar_channels
        if logvar_channels:
            self.logvar_fourier = MPFourier(logvar_channels)
            self.logvar_linear = MPConv(logvar_channels, 1, 0)

    def force_normalization(self, on: bool) -> None:
        """Whether training overwrites weights by their normalised values; what the network computes is the same."""
        for module in self.modules():
            if isinstance(module, MPConv):
                module.force_normalization = on

    def logvar(self, sigma: Tensor | float) -> Tensor:
        """u [N,1,1,1] of sigma [] | [N] | [N,1,1,1]. Source: arXiv:2312.02696, Eq. (21)."""
        sigma = torch.as_tensor(sigma, dtype=self._dtype, device=self.logvar_linear.weight.device)
        c_noise = self.scalings(sigma.flatten())[3]
        u: Tensor = self.logvar_linear(self.logvar_fourier(c_noise))
        return u.reshape(-1, 1, 1, 1)
