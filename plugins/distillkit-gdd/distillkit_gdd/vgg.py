"""VGG-16: with batch normalisation the backbone that GDD uses for CIFAR-10, without it the network of LPIPS."""

from __future__ import annotations

from torch import Tensor, nn

from distillkit.api import frozen
from distillkit_gdd.published import Published, PublishedConfig

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
TAPS = (13, 23, 33, 43)  # with batch norms: the second to fifth pooling


class Vgg16Bn(Published):
    """VGG-16 with batch norms, published weights by path, torchvision's names (arXiv:1409.1556)."""

    @frozen(kw_only=True)
    class Config(PublishedConfig):
        pass

    def layers(self) -> nn.Module:
        return Features()


class Features(nn.Module):
    """x [N,3,224,224] -> maps [N,128,56,56], [N,256,28,28], [N,512,14,14], [N,512,7,7], or those after other taps."""

    def __init__(
        self, taps: tuple[int, ...] = TAPS, batch_norm: bool = True, pool: type[nn.Module] = nn.MaxPool2d
    ) -> None:
        super().__init__()
        self.taps = taps
        layers: list[nn.Module] = []
        channels = 3
        for stage in WIDTHS:
            for width in stage:
                norm = [nn.BatchNorm2d(width)] if batch_norm else []
                layers += [nn.Conv2d(channels, width, 3, padding=1), *norm, nn.ReLU()]
                channels = width
            layers.append(pool(2))
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                maps.append(x)
        return maps
