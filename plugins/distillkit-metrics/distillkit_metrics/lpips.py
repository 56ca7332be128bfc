"""LPIPS from a TorchScript file by path, as an embedding: the squared distance of its outputs is LPIPS."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit.api import Embedding, InputError, UsageError, field, frozen, ge
from distillkit_metrics.torchscript import FileConfig, load, reason


class LpipsTorchScript(Embedding):
    """LPIPS as a TorchScript file by path, called like StyleGAN's vgg16.pt (arXiv:1801.03924, Eq. (1)).

    `net(x, resize_images=False, return_lpips=True)` gives features [N,D] of x [N,3,size,size] in [0,255].
    """

    @frozen(kw_only=True)
    class Config(FileConfig):
        size: int = field(default=224, validator=ge(1))  # pixels that images are scaled to

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        """Raises InputError for a file that is missing, another one or no such network, UsageError for channels."""
        if channels not in (1, 3):
            raise UsageError(f"published networks see grey or RGB images; these have {channels} channels")
        path = Path.cwd() / self.config.network
        phi = Phi(load(path, self.config.sha256)[0], self.config.size)
        try:
            shape = list(phi(torch.zeros(2, channels, resolution, resolution)).shape)
        except (RuntimeError, AttributeError, torch.jit.Error) as error:
            raise InputError(f"{path}: cannot be called as wanted ({reason(error)})") from error
        if len(shape) != 2 or shape[0] != 2:
            raise InputError(f"{path}: gave {shape} for 2 images, expected [2, D]")
        return phi


class Phi(nn.Module):
    """x [N,1 or 3,H,W] in [-1,1] -> features [N,D]."""

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net, self.size = net, size
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = (x.expand(-1, 3, -1, -1) + 1) * 127.5
        x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        features: Tensor = self.net(x, resize_images=False, return_lpips=True)
        return features
