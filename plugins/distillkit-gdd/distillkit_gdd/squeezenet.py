"""SqueezeNet 1.0 as a backbone: 1.25 million weights, the smallest published one here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit.api import field, frozen, in_
from distillkit_gdd.published import CAFFE, IMAGENET, Normalisation, Published, PublishedConfig


class SqueezeNet(Published):
    """SqueezeNet 1.0 with published weights by path, torchvision's names (arXiv:1602.07360)."""

    @frozen(kw_only=True)
    class Config(PublishedConfig):
        images: str = field(default="imagenet", validator=in_(("imagenet", "caffe")))
        """how the weights want images: scaled as ImageNet's, or Caffe's"""

    config: Config

    @property
    def normalisation(self) -> Normalisation:
        return CAFFE if self.config.images == "caffe" else IMAGENET

    def layers(self) -> nn.Module:
        return Features()


class Fire(nn.Module):
    """Squeeze to few channels, expand by 1x1 and 3x3 convolutions side by side."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class Features(nn.Module):
    """x [N,3,224,224] -> maps [N,256,54,54], [N,512,27,27], [N,512,13,13]."""

    def __init__(self) -> None:
        super().__init__()
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        fires = ((96, 16, 64), (128, 16, 64), (128, 32, 128)), ((256, 32, 128), (256, 48, 192), (384, 48, 192),
                 (384, 64, 256)), ((512, 64, 256),)  # fmt: skip
        layers: list[nn.Module] = [nn.Conv2d(3, 96, 7, 2), nn.ReLU()]
        self.taps = []
        for stage in fires:
            layers += [pool, *(Fire(*sizes) for sizes in stage)]
            self.taps.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                maps.append(x)
        return maps
