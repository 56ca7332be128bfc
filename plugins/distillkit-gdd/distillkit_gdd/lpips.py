"""LPIPS as an embedding: phi with |phi(x) - phi(y)|^2 = d(x, y), the perceptual distance.

    (1)  d(x, y) = sum_l 1 / (H_l W_l) sum_hw |w_l (x^l - y^l)|^2,   so  phi(x) = [w_l x^l / sqrt(H_l W_l)]_l

x^l, y^l [N,C_l,H_l,W_l]: the network's maps after layer l, in unit length over their channels; w_l [C_l] >= 0.
The authors' file holds w_l^2, as a 1x1 convolution of the squared difference; without it w_l = 1: cosine distance.
Source: arXiv:1801.03924, Eq. (1), in the form of its authors' code (github.com/richzhang/PerceptualSimilarity).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from distillkit.api import FILE, Embedding, InputError, field, frozen, in_
from distillkit_gdd.published import IMAGENET, Normalised, PublishedConfig, normalised, read
from distillkit_gdd.vgg import WIDTHS, Features

TAPS = (3, 8, 15, 22, 29)  # the last ReLU of each stage
POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
EPS = 1e-10


class LpipsVgg16(Embedding):
    """LPIPS on VGG-16, published weights by path, torchvision's names (arXiv:1801.03924)."""

    @frozen(kw_only=True)
    class Config(PublishedConfig):
        lin: str | None = field(default=None, metadata=FILE)
        """path of LPIPS' own weights of the channels, lpips' vgg.pth; unset: all are 1"""
        pooling: str = field(default="max", validator=in_(tuple(POOLS)))
        """of the feature maps; "average": as in the code of consistency models"""

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        """Raises InputError for a file that is missing, damaged or another network's; UsageError for other channels."""
        c = self.config
        with torch.device("meta"):
            net = Features(TAPS, batch_norm=False, pool=POOLS[c.pooling])
        maps = normalised(net, Path.cwd() / c.weights, channels, c.size, IMAGENET)
        plain = c.lin is None or torch.get_default_device().type == "meta"  # shapes alone, as in published.load
        return Phi(maps, None if plain else channel_weights(Path.cwd() / c.lin))


class Phi(nn.Module):
    """x [N,1 or 3,H,W] in [-1,1] -> phi(x) [N, sum of C_l H_l W_l]."""

    def __init__(self, maps: Normalised, w2: list[Tensor] | None) -> None:
        """`w2`: w_l^2 [C_l] of each layer."""
        super().__init__()
        self.maps = maps
        for i, width in enumerate(stage[-1] for stage in WIDTHS):
            self.register_buffer(f"w{i}", (torch.ones(width) if w2 is None else w2[i].sqrt()).view(1, width, 1, 1))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for i, m in enumerate(self.maps(x)):
            # vector_norm has the gradient 0 where all channels are 0, a root of a sum would have NaN
            unit = m / (torch.linalg.vector_norm(m, dim=1, keepdim=True) + EPS)
            parts.append((getattr(self, f"w{i}") * unit / (m.shape[2] * m.shape[3]) ** 0.5).flatten(1))
        return torch.cat(parts, 1)


def channel_weights(path: Path) -> list[Tensor]:
    """w_l^2 [C_l], float32, of each layer l, from the file's "lin0.model.1.weight" and so on. Raises InputError."""
    tensors, weights = read(path), []
    for i, width in enumerate(stage[-1] for stage in WIDTHS):
        name = f"lin{i}.model.1.weight"
        if name not in tensors or tensors[name].numel() != width:
            shape = list(tensors[name].shape) if name in tensors else "nothing"
            raise InputError(f"{path}: {name!r} is {shape}, expected [1, {width}, 1, 1]: not LPIPS' weights for VGG-16")
        if not (tensors[name] >= 0).all():
            raise InputError(f"{path}: {name!r} has values below 0 or NaN; LPIPS' weights are 0 or more")
        weights.append(tensors[name].float().flatten())
    return weights
