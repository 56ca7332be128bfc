"""The U-Net as a denoiser D(x; sigma), with its first half as an encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.convert import Encoding, Schedule
from distillkit_diffusers.unet import UNet


class UNetDenoiser(Encoding):
    """A U-Net that predicts `prediction` on `schedule` and is told `time_scale` times the schedule's t.

    Further output channels than the image's, such as variances, are left out.
    """

    def __init__(
        self, model: UNet, resolution: int, channels: int, label_dim: int, schedule: Schedule, prediction: str,
        time_scale: float, sigma_data: float,
    ) -> None:  # fmt: skip
        super().__init__(resolution, channels, label_dim, schedule, prediction, sigma_data)
        self.model, self.time_scale = model, time_scale

    def predict(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """What the U-Net says of the image's channels, [N,C,H,W]."""
        return torch.as_tensor(self.model(x_t, self.time_scale * t, labels))[:, : self.channels]

    def blocks(self) -> list[torch.nn.Module]:
        """Its layers, first to last."""
        return self.model.blocks()

    def encoder_features(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> list[Tensor]:
        """Outputs [N,c,h,w] of the encoder's layers and of the middle, finest first; the decoder does not run."""
        x, _, x_t, t, labels = self.native(x, sigma, labels)
        with self.layers(x):
            skips = self.model.encode(x_t, self.model.embed(self.time_scale * t, labels))
        return self._maps(skips, x.dtype)

    def denoised_features(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """D [N,C,H,W] and what `encoder_features` gives, from one pass."""
        x, sigma, x_t, t, labels = self.native(x, sigma, labels)
        with self.layers(x):
            emb = self.model.embed(self.time_scale * t, labels)
            skips = self.model.encode(x_t, emb)
            predicted = self.model.decode(skips, emb)[:, : self.channels]
        return self.denoised(x, sigma, x_t, predicted), self._maps(skips, x.dtype)

    def _maps(self, skips: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
        found = skips if self.model.mid_block is not None else skips[:-1]  # else the last is there twice
        return [skip.to(dtype) for skip in found]
