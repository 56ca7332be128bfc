"""Features of real and generated images, without holding more than one embedding's graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from distillkit.api import Kernel, State
from distillkit.mmd import arguments
from distillkit_el.space import Space

BLOCK = 256  # images per forward pass through an embedding


class RealFeatures:
    """Features of real images by index: from a bank of the whole set where it fits in `bank_mb`, else computed.

    `kernel`: given, what it takes of each pair of images is kept as well, if that fits beside the features.
    `space`: what is seen of them; None: the images as they are.
    """

    def __init__(
        self, state: State, nets: list[nn.Module], dtype: torch.dtype, bank_mb: float, kernel: Kernel | None = None,
        space: Space | None = None,
    ) -> None:  # fmt: skip
        dataset = state.dataset
        self.dataset, self.nets, self.device, self.dtype = dataset, nets, state.device, dtype
        self.space = space or Space(state)
        one = self._images(torch.tensor([0]))
        widths = [embed(net, one).shape[1] for net in nets]
        room, size = bank_mb * 2**20 / dtype.itemsize, len(dataset)
        self.bank = self._fill(widths, state) if size * sum(widths) <= room else None
        self.pairs: list[Tensor] | None = None  # [N * N], of each embedding
        self.upper: Tensor | None = None  # places i < j of a step's images
        if self.bank is not None and kernel is not None and size * (sum(widths) + size * len(nets)) <= room:
            self.pairs = [arguments(features, kernel).view(-1) for features in self.bank]

    def __call__(self, index: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Features [M,D] of int64 index [M], one embedding after the other, and what is kept of their pairs i < j."""
        if self.bank is None:
            images = self._images(index)
            yield from ((embed(net, images), None) for net in self.nets)
            return
        index = index.to(self.device, non_blocking=True)
        features = (features.index_select(0, index) for features in self.bank)
        if self.pairs is None:
            yield from ((of, None) for of in features)
            return
        if self.upper is None or self.upper.shape[1] != len(index) * (len(index) - 1) // 2:
            self.upper = torch.triu_indices(len(index), len(index), 1, device=self.device)
        i, j = (index.index_select(0, side) for side in self.upper)
        at = i.mul_(len(self.dataset)).add_(j)
        yield from zip(features, (pairs.index_select(0, at) for pairs in self.pairs), strict=True)

    def _fill(self, widths: list[int], state: State) -> list[Tensor]:
        # Always the same blocks of neighbours, so that a resumed run, and any number of ranks, finds the same bits.
        blocks = torch.arange(len(self.dataset)).split(BLOCK)
        mine = blocks[state.rows(len(blocks))]
        bank = [torch.empty(sum(map(len, mine)), width, device=self.device, dtype=self.dtype) for width in widths]
        at = 0
        for index in mine:
            images = self._images(index)
            for features, net in zip(bank, self.nets, strict=True):
                features[at : at + len(index)] = embed(net, images)
            at += len(index)
        return [state.gather(features) for features in bank]

    def _images(self, index: Tensor) -> Tensor:
        return self.space.real(index).to(self.device, self.dtype, non_blocking=True)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Their rows, without a copy where there is one part."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


@torch.no_grad()
def embed(net: nn.Module, x: Tensor) -> Tensor:
    """Features [N,D] of images x [N,C,H,W]; no graph."""
    return joined([net(part) for part in x.split(BLOCK)])


def pull_back(
    net: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor], at_once: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """loss(net(x)) [] and its gradient at x [N,C,H,W], exactly, with a graph of at most BLOCK images.

    A larger batch goes through the net twice: the features first, then their gradient (arXiv:2101.06983).
    `at_once`: images per pass of a smaller one.
    """
    if len(x) <= BLOCK:
        leaves = [part.requires_grad_() for part in x.detach().split(at_once)]
        value = loss(joined([net(leaf) for leaf in leaves]))
        return value.detach(), joined(torch.autograd.grad(value, leaves))
    features = embed(net, x).requires_grad_()
    value = loss(features)
    (upstream,) = torch.autograd.grad(value, features)
    gradients = []
    for part, d in zip(x.detach().split(BLOCK), upstream.split(BLOCK), strict=True):
        leaf = part.requires_grad_()
        gradients.append(torch.autograd.grad(net(leaf), leaf, d)[0])
    return value.detach(), torch.cat(gradients)
