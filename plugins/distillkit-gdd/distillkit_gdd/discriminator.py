"""The discriminator: frozen projected maps, and the heads that the engine trains under the name "discriminator"."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import State, Step
from distillkit_gdd.heads import Head, Heads
from distillkit_gdd.projection import Projection


class Discriminator:
    """D(x, step) -> logits [N,K] per backbone; only the heads are a network of the run."""

    def __init__(self, state: State, config: Any) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(noise.fold(state.seed, "discriminator"))
            self.projections = [self._projection(choice, state, config.projection) for choice in config.backbones]
            heads = Heads(self._heads(projection, state, config) for projection in self.projections)
        self.heads = state.add_network("discriminator", heads, config.optimizer())
        self.turn: tuple[int, str] | None = None  # images seen, and name

    def __call__(self, x: Tensor, step: Step) -> list[Tensor]:
        if self.heads.training and self.turn != (step.nimg, step.turn):
            # Before the first pass of a turn, as in the authors' code where a turn is one pass.
            self.turn = step.nimg, step.turn
            self.heads.spectral_norms_follow()
        maps = [projection(x, step.labels, step.randn_like) for projection in self.projections]
        logits: list[Tensor] = self.heads(maps, step.labels)
        return logits

    @contextmanager
    def batch_statistics(self) -> Iterator[None]:
        """Inside, the heads are in training mode, as published also where the generator trains."""
        before = self.heads.training
        self.heads.train()
        try:
            yield
        finally:
            self.heads.train(before)

    def _projection(self, choice: Any, state: State, channels: int) -> Projection:
        backbone = choice.build().module(state).to(state.device, state.dtype)
        return Projection(backbone, *_probe(state), channels)

    def _heads(self, projection: Projection, state: State, config: Any) -> torch.nn.ModuleList:
        with torch.no_grad():
            maps = projection(*_probe(state), torch.zeros_like)
        shape = {
            "end": config.end_size, "width": config.width, "classes": state.dataset.label_dim,
            "embedding": config.embedding, "cmap": config.cmap,
        }  # fmt: skip
        return torch.nn.ModuleList(Head(m.shape[1], min(m.shape[2:]), **shape) for m in maps)


def _probe(state: State) -> tuple[Tensor, Tensor | None]:
    """An image [1,C,H,W] and its labels [1,L], to find shapes with."""
    labels = state.dataset.labels(torch.zeros(1, dtype=torch.int64))
    x = torch.zeros(1, *state.dataset.shape, device=state.device, dtype=state.dtype)
    return x, None if labels is None else labels.to(x)
