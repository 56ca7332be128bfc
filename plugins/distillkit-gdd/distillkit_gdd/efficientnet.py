"""EfficientNet-lite0 as a backbone: GDD uses it for every data set."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from distillkit.api import frozen
from distillkit_gdd.published import HALF, Published, PublishedConfig

# (blocks, kernel, stride, expansion, channels) of a stage
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
TAPS = (1, 2, 4, 6)  # stages whose outputs are the maps
EPS = 1e-3  # of the batch norms, TensorFlow's


class EfficientNetLite0(Published):
    """EfficientNet-lite0, published weights by path, timm's names (arXiv:1905.11946)."""

    normalisation = HALF

    @frozen(kw_only=True)
    class Config(PublishedConfig):
        pass

    def layers(self) -> nn.Module:
        return Features()


class SameConv(nn.Conv2d):
    """TensorFlow's padding: the output has ceil(size / stride) pixels, what is odd goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        pad: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pad += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pad))


def depthwise(channels: int, kernel: int, stride: int) -> SameConv:
    return SameConv(channels, channels, kernel, stride, groups=channels, bias=False)


class Separable(nn.Module):
    """Depthwise and pointwise convolution; the skip where shapes allow it."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.skip = channels == out and stride == 1
        self.conv_dw, self.bn1 = depthwise(channels, kernel, stride), nn.BatchNorm2d(channels, EPS)
        self.conv_pw, self.bn2 = nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out, EPS)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)))))
        return x + h if self.skip else h


class Inverted(nn.Module):
    """Widen, depthwise convolution, narrow; the skip where shapes allow it."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.skip, wide = channels == out and stride == 1, channels * expansion
        self.conv_pw, self.bn1 = nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide, EPS)
        self.conv_dw, self.bn2 = depthwise(wide, kernel, stride), nn.BatchNorm2d(wide, EPS)
        self.conv_pwl, self.bn3 = nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out, EPS)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self.bn2(self.conv_dw(F.relu6(self.bn1(self.conv_pw(x))))))
        h: Tensor = self.bn3(self.conv_pwl(wide))
        return x + h if self.skip else h


class Features(nn.Module):
    """x [N,3,224,224] -> maps [N,24,56,56], [N,40,28,28], [N,112,14,14], [N,320,7,7]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = SameConv(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, EPS)
        self.blocks, channels = nn.Sequential(), 32
        for count, kernel, stride, expansion, out in STAGES:
            stage = nn.Sequential()
            for i in range(count):
                sizes = channels, out, kernel, 1 if i else stride
                stage.append(Separable(*sizes) if expansion == 1 else Inverted(*sizes, expansion))
                channels = out
            self.blocks.append(stage)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = F.relu6(self.bn1(self.conv_stem(x))), []
        for i, stage in enumerate(self.blocks):
            x = stage(x)
            if i in TAPS:
                maps.append(x)
        return maps
