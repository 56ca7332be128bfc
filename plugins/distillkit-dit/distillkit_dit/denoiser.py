"""The transformer as a denoiser D(x; sigma), with its first half as an encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.convert import Encoding, FurtherInputs, Schedule
from distillkit.noise import dropout
from distillkit_dit.transformer import Transformer


class TransformerDenoiser(Encoding):
    """A transformer that predicts `prediction` on `schedule`; its time is `1 - t` where it runs from noise to data.

    Further output channels than the image's, such as DiT's variances, are left out.
    """

    def __init__(
        self, model: Transformer, resolution: int, channels: int, label_dim: int, schedule: Schedule, prediction: str,
        *, reversed_time: bool = False, label_dropout: float = 0.0, sigma_data: float = 0.5,
        further: FurtherInputs | None = None, second_time: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(resolution, channels, label_dim, schedule, prediction, sigma_data)
        self.further, self.second_time = further or FurtherInputs(0, label_dim), second_time
        self.model, self.reversed_time, self.label_dropout = model, reversed_time, label_dropout

    def predict(
        self, x_t: Tensor, t: Tensor, labels: Tensor | None, sigma: Tensor | None = None, r: Tensor | None = None
    ) -> Tensor:
        """What the transformer says of the image's channels, [N,C,H,W]."""
        h, given = self._begin(x_t, t, labels, sigma, r)
        for block in self.model.blocks:
            h = block(h, *given)
        return self.model.image(h, given[0])[:, : self.channels]

    def blocks(self) -> list[torch.nn.Module]:
        """Its parts for `run --shard`."""
        return list(self.model.blocks)

    def encoder_features(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> list[Tensor]:
        """Tokens [N,width,h,w] after each block of the first half; the rest does not run."""
        x, sigma, x_t, t, labels = self.native(x, sigma, labels)
        with self.layers(x):
            h, given = self._begin(x_t, t, labels, **self.levels(sigma, None, x.shape[0]))
            return self._encode(h, given, x.dtype)[1]

    def denoised_features(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """D [N,C,H,W] and what `encoder_features` gives, from one pass."""
        x, sigma, x_t, t, labels = self.native(x, sigma, labels)
        with self.layers(x):
            h, given = self._begin(x_t, t, labels, **self.levels(sigma, None, x.shape[0]))
            h, maps = self._encode(h, given, x.dtype)
            for block in self.model.blocks[len(maps) :]:
                h = block(h, *given)
            predicted = self.model.image(h, given[0])[:, : self.channels]
        return self.denoised(x, sigma, x_t, predicted), maps

    def _begin(
        self, x_t: Tensor, t: Tensor, labels: Tensor | None, sigma: Tensor | None = None, r: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens [N,T,width], and what every block is given, c [N,width] first."""
        labels, scale = self.further.split(labels)
        if labels is not None and self.training and self.label_dropout:
            keep = dropout(labels.new_ones(len(labels), 1), self.label_dropout) > 0
            labels = labels * keep
        own = self.model.r_embedder is not None and r is not None  # MeanFlow's second time, as the time to jump by
        span = t - self.schedule.t(r) if own and r is not None else None
        c, *others = self.model.given(1 - t if self.reversed_time else t, labels, span)
        added = self.further(t if sigma is None else sigma, None if own else r, scale)
        return self.model.tokens(x_t), (c if added is None else c + added, *others)

    def _encode(self, h: Tensor, given: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        maps = []
        for block in self.model.blocks[: max(1, len(self.model.blocks) // 2)]:
            h = block(h, *given)
            side = round(h.shape[1] ** 0.5)
            maps.append(h.transpose(1, 2).reshape(h.shape[0], -1, side, side).to(dtype))
        return h, maps
