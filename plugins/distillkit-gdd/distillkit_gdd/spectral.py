"""Spectral normalisation (arXiv:1802.05957) whose estimate moves once in a turn, however many passes the turn takes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-12
AT_FIRST = 16  # power iterations, as torch's parametrization makes when it is put on


class SpectralConv2d(nn.Conv2d):
    """Convolution by W / sigma, sigma = u^T W v of unit vectors that follow W's first singular ones.

    The next call makes one power iteration where `due` is set, and no other call does: in training torch's makes one at
    each, so that the weights would depend on the number of micro-batches.
    """

    u: Tensor  # [out]
    v: Tensor  # [in x height x width]

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, padding, bias=bias)
        self.due = False
        for name, n in zip("uv", self.matrix().shape, strict=True):
            start = self.weight.detach().new_empty(n)
            # On "meta" torch would import its compiler to draw them.
            self.register_buffer(name, start if start.is_meta else F.normalize(start.normal_(), dim=0, eps=EPS))
        self.iterate(AT_FIRST)

    def matrix(self) -> Tensor:
        """W [out, in x height x width]."""
        return self.weight.flatten(1)

    @torch.no_grad()
    def iterate(self, times: int = 1) -> None:
        """Power iterations."""
        W = self.matrix()
        for _ in range(times):
            self.u.copy_(F.normalize(W.mv(self.v), dim=0, eps=EPS))
            self.v.copy_(F.normalize(W.T.mv(self.u), dim=0, eps=EPS))

    def forward(self, x: Tensor) -> Tensor:
        """x [N,in,H,W] -> [N,out,H',W']."""
        if self.due:  # here, where weights that are sharded between passes are whole
            self.iterate()
            self.due = False
        y: Tensor = self._conv_forward(x, self.normalised(), self.bias)
        return y

    def normalised(self) -> Tensor:
        """W / sigma [out,in,height,width]."""
        return self.weight / self.u.dot(self.matrix().mv(self.v))
