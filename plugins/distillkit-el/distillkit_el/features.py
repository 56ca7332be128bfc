"""Features of real and generated images, without holding more than one embedding's graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from distillkit.api import Dataset

BLOCK = 256  # images per forward pass through an embedding


class RealFeatures:
    """Features of real images by index: from a bank of the whole set where it fits in `bank_mb`, else computed."""

    def __init__(
        self, dataset: Dataset, nets: list[nn.Module], device: torch.device, dtype: torch.dtype, bank_mb: float
    ) -> None:
        self.dataset, self.nets, self.device, self.dtype = dataset, nets, device, dtype
        one = self._images(torch.tensor([0]))
        widths = [embed(net, one).shape[1] for net in nets]
        fits = len(dataset) * sum(widths) * dtype.itemsize <= bank_mb * 2**20
        self.bank = self._fill(widths) if fits else None

    def __call__(self, index: Tensor) -> Iterator[Tensor]:
        """Features [M,D] of int64 index [M], one embedding after the other."""
        if self.bank is not None:
            index = index.to(self.device, non_blocking=True)
            yield from (features[index] for features in self.bank)
        else:
            images = self._images(index)
            yield from (embed(net, images) for net in self.nets)

    def _fill(self, widths: list[int]) -> list[Tensor]:
        # Always the same blocks of neighbours, so that a resumed run finds the same bits.
        size = len(self.dataset)
        bank = [torch.empty(size, width, device=self.device, dtype=self.dtype) for width in widths]
        for index in torch.arange(size).split(BLOCK):
            images = self._images(index)
            for features, net in zip(bank, self.nets, strict=True):
                features[index[0] : index[-1] + 1] = embed(net, images)
        return bank

    def _images(self, index: Tensor) -> Tensor:
        return self.dataset.images(index).to(self.device, self.dtype, non_blocking=True)


@torch.no_grad()
def embed(net: nn.Module, x: Tensor) -> Tensor:
    """Features [N,D] of images x [N,C,H,W]; no graph."""
    return torch.cat([net(part) for part in x.split(BLOCK)])


def pull_back(net: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """loss(net(x)) [] and its gradient at x [N,C,H,W], exactly, with a graph of at most BLOCK images.

    A larger batch goes through the net twice: the features first, then their gradient (arXiv:2101.06983).
    """
    if len(x) <= BLOCK:
        leaf = x.detach().requires_grad_()
        value = loss(net(leaf))
        return value.detach(), torch.autograd.grad(value, leaf)[0]
    features = embed(net, x).requires_grad_()
    value = loss(features)
    (upstream,) = torch.autograd.grad(value, features)
    gradients = []
    for part, d in zip(x.detach().split(BLOCK), upstream.split(BLOCK), strict=True):
        leaf = part.requires_grad_()
        gradients.append(torch.autograd.grad(net(leaf), leaf, d)[0])
    return value.detach(), torch.cat(gradients)
