"""Preconditioning: the network D around the raw network F."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from distillkit.convert import FurtherInputs

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from distillkit_edm.dhariwal import DhariwalUNet
    from distillkit_edm.edm2.unet import Edm2UNet
    from distillkit_edm.songunet import SongUNet


class EdmPrecond(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), arXiv:2206.00364 Eq. (7) and Table 1.

    With `boundary` b the consistency form, the identity at sigma = b (arXiv:2303.01469 Appendix C); where it is not
    `boundary_in_training`, in evaluation mode only, as in ECT's code (arXiv:2406.14548).
    Inputs are cast to the dtype of the parameters, at least float32; `compute_dtype` (None | bfloat16) is what F's
    layers run in.
    """

    inner: ClassVar[str] = "model"  # what the raw network F is called in the state dict

    def __init__(
        self,
        raw: SongUNet | DhariwalUNet | Edm2UNet,
        resolution: int,
        channels: int,
        label_dim: int,
        augment_dim: int,
        sigma_min: float = 0.0,
        sigma_max: float = float("inf"),
        sigma_data: float = 0.5,
        boundary: float = 0.0,
        boundary_in_training: bool = True,
        second_time: bool = False,
        guidance: bool = False,
    ) -> None:
        super().__init__()
        self.add_module(self.inner, raw)
        self.second_time = second_time
        self.further = FurtherInputs(raw.style.emb_channels, label_dim, second_time=second_time, guidance=guidance)
        self.resolution, self.channels, self.label_dim, self.augment_dim = resolution, channels, label_dim, augment_dim
        self.sigma_min, self.sigma_max, self.sigma_data = sigma_min, sigma_max, sigma_data
        self.boundary, self.boundary_in_training = boundary, boundary_in_training
        self.compute_dtype: torch.dtype | None = None

    @property
    def raw(self) -> SongUNet | DhariwalUNet | Edm2UNet:
        """The raw network F."""
        raw: SongUNet | DhariwalUNet | Edm2UNet = getattr(self, self.inner)
        return raw

    def blocks(self) -> list[nn.Module]:
        """The layers of the encoder, then those of the decoder."""
        return [*self.raw.enc.values(), *self.raw.dec.values()]

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in, c_noise, each of sigma's shape; boundary 0 is EDM's form."""
        s, b = self.sigma_data, self.boundary if self.boundary_in_training or not self.training else 0.0
        c_in = (sigma**2 + s**2).rsqrt()
        c_skip = s**2 / ((sigma - b) ** 2 + s**2)
        return c_skip, (sigma - b) * s * c_in, c_in, sigma.log() / 4

    def forward(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None, *,
        r: Tensor | float | None = None,
    ) -> Tensor:  # fmt: skip
        """x [N,C,H,W], sigma [] | [N] | [N,1,1,1], labels [N,L], augment_labels [N,A], r as sigma -> D [N,C,H,W].

        Raises UsageError for r where there is no second time.
        """
        x, sigma = self._cast(x, sigma)
        skips, emb = self._encode(x, sigma, labels, augment_labels, r)
        return self._decode(x, sigma, skips, emb)

    def encoder(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """Logits [N,1,h,w]: the mean over channels of the last encoder block's output; the decoder does not run."""
        skips, _ = self._encode(*self._cast(x, sigma), labels, augment_labels)
        return self._logits(skips)

    def encoder_decoder(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """D [N,C,H,W] and the encoder's logits [N,1,h,w] from one pass."""
        x, sigma = self._cast(x, sigma)
        skips, emb = self._encode(x, sigma, labels, augment_labels)
        return self._decode(x, sigma, skips, emb), self._logits(skips)

    def encoder_features(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> list[Tensor]:
        """Outputs of the encoder's layers [N,c,h,w], finest first; the decoder does not run."""
        skips, _ = self._encode(*self._cast(x, sigma), labels, augment_labels)
        return [skip.to(self._dtype) for skip in skips]

    def denoised_features(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """D [N,C,H,W] and the outputs of the encoder's layers, from one pass."""
        x, sigma = self._cast(x, sigma)
        skips, emb = self._encode(x, sigma, labels, augment_labels)
        maps = [skip.to(self._dtype) for skip in skips]  # before the decoder takes them
        return self._decode(x, sigma, skips, emb), maps

    @property
    def _dtype(self) -> torch.dtype:
        # A frozen teacher's weights may be bfloat16 (run.teacher_dtype); its images are never rounded to that.
        return torch.promote_types(next(self.raw.parameters()).dtype, torch.float32)

    def _cast(self, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Tensor]:
        sigma = torch.as_tensor(sigma, dtype=self._dtype, device=x.device)
        return x.to(self._dtype), sigma.reshape(-1, 1, 1, 1)

    def _autocast(self, x: Tensor) -> AbstractContextManager[object]:
        return nullcontext() if self.compute_dtype is None else torch.autocast(x.device.type, self.compute_dtype)

    def _encode(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None, augment_labels: Tensor | None,
        r: Tensor | float | None = None,
    ) -> tuple[list[Tensor], Tensor]:  # fmt: skip
        _, _, c_in, c_noise = self.scalings(sigma)
        labels, scale = self.further.split(labels)
        if self.further.classes:
            labels = x.new_zeros(1, self.further.classes) if labels is None else labels.to(x.dtype)
        if augment_labels is not None:
            augment_labels = augment_labels.to(x.dtype)
        emb = self.raw.embed(c_noise.flatten(), labels, augment_labels)
        added = self.further(sigma.flatten(), r, scale)
        if added is not None:
            emb = emb + added
        with self._autocast(x):
            return self.raw.encode(c_in * x, emb), emb

    def _decode(self, x: Tensor, sigma: Tensor, skips: list[Tensor], emb: Tensor) -> Tensor:
        c_skip, c_out, _, _ = self.scalings(sigma)
        with self._autocast(x):
            F_x = self.raw.decode(skips, emb)
        return torch.addcmul(c_skip * x, c_out, F_x.to(x.dtype))

    def _logits(self, skips: list[Tensor]) -> Tensor:
        return skips[-1].to(self._dtype).mean(dim=1, keepdim=True)


class FlowPrecond(EdmPrecond):
    """D(x; sigma) of an F that predicts the velocity n - y, on the straight path with t = sigma / (1 + sigma)."""

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in, c_noise, each of sigma's shape: F is asked at z = (1 - t) x and t, and D = z - t F."""
        t = sigma / (1 + sigma)
        return 1 / (1 + sigma), -t, 1 / (1 + sigma), t
