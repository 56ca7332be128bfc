"""DMD2's classifier: a small head on the feature maps of a denoiser's encoder."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from distillkit.api import DenoisedFeatures, Denoiser, EncoderFeatures, State, UsageError


class Head(nn.Sequential):
    """Feature map [N,c,r,r] -> logits [N,1]: convolutions of stride 2 down to 4 x 4 or less, then to one pixel.

    At r = 8 the layers of DMD2's code; its 32 groups of GroupNorm are fewer in narrow networks.
    """

    def __init__(self, channels: int, resolution: int) -> None:
        def block(kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
            return [
                nn.Conv2d(channels, channels, kernel, stride, padding),
                nn.GroupNorm(groups(channels), channels),
                nn.SiLU(),
            ]

        layers, r = block(4, 2, 1) if resolution > 1 else [], max(resolution // 2, 1)
        while r > 4:
            layers, r = layers + block(4, 2, 1), r // 2
        super().__init__(*layers, *block(r), nn.Conv2d(channels, 1, 1), nn.Flatten())


def groups(channels: int) -> int:
    """Groups of GroupNorm: the most that divide `channels`, up to 32 and of 4 channels or more where there are so many.

    32 from 128 channels on where they divide, as in DMD2 and FastGen. A map is one pixel at the end: were a group one
    channel too, normalising would leave nothing of it.
    """
    return max(n for n in range(1, min(32, max(channels // 4, 1)) + 1) if channels % n == 0)


class Classifier(nn.Module):
    """One head per tap; a tap is a resolution r: the encoder's last map of r x r. No taps: its very last map."""

    def __init__(self, shapes: list[tuple[int, int]], taps: tuple[int, ...]) -> None:
        """`shapes`: channels and resolution of all maps. Raises UsageError for a tap that is not there."""
        super().__init__()
        last = {resolution: i for i, (_, resolution) in enumerate(shapes)}
        missing = [tap for tap in taps if tap not in last]
        if missing:
            raise UsageError(f"taps: the encoder has no maps of {missing[0]} px, only of {sorted(last, reverse=True)}")
        self.taps = [last[tap] for tap in taps] or [len(shapes) - 1]
        self.heads = nn.ModuleList(Head(*shapes[i]) for i in self.taps)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Maps [N,c,h,w] -> logits [N, taps]."""
        return torch.cat([head(features[i]) for head, i in zip(self.heads, self.taps, strict=True)], 1)


def logits_at(network: object, classifier: object, y: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
    """Logits [N, taps] of images with noise y [N,C,H,W], by the encoder of `network`."""
    maps = cast(EncoderFeatures, network).encoder_features(y, sigma, labels)
    return cast(Tensor, cast(Classifier, classifier)(maps))


def logits_beside(
    network: object, classifier: object, y: Tensor, sigma: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """D [N,C,H,W] of y and the logits [N, taps], from one pass of `network`."""
    D, maps = cast(DenoisedFeatures, network).denoised_features(y, sigma, labels)
    return D, cast(Tensor, cast(Classifier, classifier)(maps))


def classifier_for(state: State, network: object, taps: tuple[int, ...], seed: int, both: bool = False) -> Classifier:
    """A classifier of random weights on the encoder of `network`; `both`: its D comes from the same pass.

    Raises UsageError if it has none, or no such pass.
    """
    if not isinstance(network, EncoderFeatures):
        name = "a teacher in closed form" if network is None else type(network).__name__
        raise UsageError(
            f'a classifier needs the encoder of a U-Net, and {name} has none: take an "edm-*" network, or no GAN'
        )
    if both and not isinstance(network, DenoisedFeatures):
        name = type(network).__name__
        raise UsageError(f"generator_loss.shared_pass needs a network with `denoised_features`: {name} has none")
    x = torch.zeros(1, *state.dataset.shape, device=state.device, dtype=state.dtype)
    with torch.no_grad():
        shapes = [(f.shape[1], f.shape[2]) for f in network.encoder_features(x, 1.0)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(shapes, taps)


class Guidance(nn.Module):
    """The fake score and its classifier as one network: one optimizer, one gradient norm."""

    def __init__(self, fake_score: Denoiser, classifier: Classifier | None) -> None:
        super().__init__()
        self.fake_score, self.classifier = fake_score, classifier

    @property
    def compute_dtype(self) -> torch.dtype | None:
        return self.fake_score.compute_dtype

    @compute_dtype.setter
    def compute_dtype(self, dtype: torch.dtype | None) -> None:
        self.fake_score.compute_dtype = dtype
