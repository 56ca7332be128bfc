"""What embeddings see: images as networks have them, or the pixels that a data set of latents decodes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distillkit.api import State, UsageError


class Space:
    """Images as they are: x [N,C,H,W] is seen as itself."""

    def __init__(self, state: State) -> None:
        self.dataset, self.device = state.dataset, state.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W of what is seen."""
        return self.dataset.channels, self.dataset.resolution, self.dataset.resolution

    def real(self, index: Tensor) -> Tensor:
        """Real images of int64 index [M], as they are seen."""
        return self.dataset.images(index)

    def see(self, x: Tensor, at_once: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """What is seen of x, without a graph, and what makes of a gradient there the one at x."""
        return x, lambda gradient: gradient


class Pixels(Space):
    """Latents decoded, with the gradient through the decoder; `at_once` images of it at a time."""

    def __init__(self, state: State) -> None:
        """Raises UsageError where nothing decodes, or no gradient comes through."""
        super().__init__(state)
        z = torch.zeros(1, *self.dataset.shape, device=self.device, requires_grad=True)
        with torch.enable_grad():
            x = self.dataset.pixels_of(z)
        where = 'auxiliary_loss "embedding": space = "pixels"'
        if x is z:
            raise UsageError(f"{where}: nothing decodes these latents; dataset.vae names what does")
        if not x.requires_grad:
            name = type(self.dataset).__name__
            raise UsageError(f"{where}: no gradient comes through {name}.decode; its pixels_of(x) must let it")
        _, c, h, w = x.shape
        self._shape = c, h, w

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._shape

    def real(self, index: Tensor) -> Tensor:
        return self.dataset.decode(self.dataset.images(index).to(self.device, non_blocking=True))

    def see(self, x: Tensor, at_once: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        if len(x) <= at_once:  # one pass, whose graph waits for the gradient
            leaf = x.detach().requires_grad_()
            seen = self.dataset.pixels_of(leaf).to(x.dtype)
            return seen.detach(), lambda gradient: torch.autograd.grad(seen, leaf, gradient)[0]
        with torch.no_grad():
            parts = [self.dataset.pixels_of(part).to(x.dtype) for part in x.split(at_once)]
        return torch.cat(parts), lambda gradient: self._again(x, gradient, at_once)

    def _again(self, x: Tensor, gradient: Tensor, at_once: int) -> Tensor:
        """The gradient at x, decoded a second time: the graph of one part is in memory."""
        found = []
        for part, upstream in zip(x.split(at_once), gradient.split(at_once), strict=True):
            leaf = part.detach().requires_grad_()
            found.append(torch.autograd.grad(self.dataset.pixels_of(leaf).to(x.dtype), leaf, upstream)[0])
        return torch.cat(found)


def space_of(state: State, name: str) -> Space:
    """That of a key `space`; where networks see pixels, both are one."""
    return Pixels(state) if name == "pixels" and state.dataset.latent else Space(state)
