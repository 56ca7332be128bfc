"""Affine warps of images without aliasing: at twice the resolution, between sym6 low-pass filters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Low-pass filter of the sym6 wavelet (Daubechies' least asymmetric, 12 taps).
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
BORDER = len(SYM6) // 4  # pixels that the filters reach beyond an image
PAD = len(SYM6) // 2 - 1


def affine(xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor, tx: Tensor, ty: Tensor) -> Tensor:
    """Entries [N] -> matrices [N,3,3] of x' = xx x + xy y + tx, y' = yx x + yy y + ty."""
    zero, one = torch.zeros_like(xx), torch.ones_like(xx)
    return torch.stack([xx, xy, tx, yx, yy, ty, zero, zero, one], dim=1).reshape(-1, 3, 3)


def scaling(sx: Tensor, sy: Tensor) -> Tensor:
    """Factors [N] -> [N,3,3]."""
    zero = torch.zeros_like(sx)
    return affine(sx, zero, zero, sy, zero, zero)


def rotation(angle: Tensor) -> Tensor:
    """Radians [N] -> [N,3,3]."""
    zero, cos, sin = torch.zeros_like(angle), angle.cos(), angle.sin()
    return affine(cos, -sin, sin, cos, zero, zero)


def translation(tx: Tensor, ty: Tensor) -> Tensor:
    """Offsets [N] in pixels -> [N,3,3]."""
    zero, one = torch.zeros_like(tx), torch.ones_like(tx)
    return affine(one, zero, zero, one, tx, ty)


def margins(source: Tensor, H: int, W: int) -> tuple[int, int, int, int]:
    """Pixels left, right, above and below that the warps of the whole batch need, at most what reflection gives."""
    x, y = (W - 1) / 2, (H - 1) / 2
    corners = source.new_tensor([[-x, x, x, -x], [-y, -y, y, y], [1, 1, 1, 1]])
    reach = (source @ corners)[:, :2].transpose(0, 1).flatten(1)  # [xy, N * corner]
    ends = torch.stack([(-reach).amax(1), reach.amax(1)])
    half, most = source.new_tensor([x, y]), source.new_tensor([W - 1, H - 1])
    low, high = (ends + 2 * BORDER - half).clamp(min=0).minimum(most).ceil().int().tolist()  # the host waits for these
    return low[0], high[0], low[1], high[1]


def warp(x: Tensor, source: Tensor) -> Tensor:
    """Pixel p of the result is x [N,C,H,W] at `source` [N,3,3] times p, in pixels from the centre; edges reflect."""
    N, C, H, W = x.shape
    left, right, above, below = margins(source, H, W)
    x = F.pad(x, (left, right, above, below), mode="reflect")
    centre = x.new_tensor([[1, 0, (left - right) / 2], [0, 1, (above - below) / 2], [0, 0, 1]])
    f = x.new_tensor(SYM6).reshape(1, 1, 1, -1)
    x = x.reshape(N * C, 1, *x.shape[2:])
    x = F.conv_transpose2d(x, f, stride=(1, 2), padding=(0, PAD))
    x = F.conv_transpose2d(x, f.mT, stride=(2, 1), padding=(PAD, 0))
    x = x.reshape(N, C, *x.shape[2:])
    size = (N, C, 2 * (H + 2 * BORDER), 2 * (W + 2 * BORDER))
    x = F.grid_sample(x, _grid(centre @ source, x.shape, size), padding_mode="zeros", align_corners=False)
    x = x.reshape(N * C, 1, *x.shape[2:])
    x = F.conv2d(x, f, stride=(1, 2), padding=(0, PAD))[..., BORDER:-BORDER]
    x = F.conv2d(x, f.mT, stride=(2, 1), padding=(PAD, 0))[..., BORDER:-BORDER, :]
    return x.reshape(N, C, H, W)


def _grid(source: Tensor, image: torch.Size, size: tuple[int, ...]) -> Tensor:
    """Sampling grid on doubled pixels, whose centres lie half a pixel to the right and below."""
    double = source.new_tensor([[2, 0, -0.5], [0, 2, -0.5], [0, 0, 1]])
    halve = source.new_tensor([[0.5, 0, 0.25], [0, 0.5, 0.25], [0, 0, 1]])
    unit = source.new_tensor([2 / image[3], 2 / image[2], 1]).diag()
    pixels = source.new_tensor([size[3] / 2, size[2] / 2, 1]).diag()
    return F.affine_grid((unit @ double @ source @ halve @ pixels)[:, :2], list(size), align_corners=False)
