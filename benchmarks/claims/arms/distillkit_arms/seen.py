"""The Embedding Loss in spaces that were learnt, and against more generated images than a batch has."""

from __future__ import annotations

from typing import Any, cast

import torch
from distillkit_el.loss import EmbeddingLoss
from distillkit_metrics.classifier import class_indices, train
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import EncoderFeatures, State, Step, UsageError, field, frozen, ge, hookimpl, in_

PASSES = 40  # of the classifier, over the data


class Noised(nn.Module):
    """The last map of a denoiser's encoder at one noise level, flattened; every image gets the same noise."""

    fixed: Tensor

    def __init__(self, network: EncoderFeatures, sigma: float, shape: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self.network, self.sigma = [network], sigma  # in a list: it is the run's, not a part of this one
        drawn = torch.Generator().manual_seed(seed % 2**63)
        self.register_buffer("fixed", torch.randn(1, *shape, generator=drawn))

    def forward(self, x: Tensor) -> Tensor:
        sigma = torch.full((len(x), 1, 1, 1), self.sigma, dtype=x.dtype, device=x.device)
        return self.network[0].encoder_features(x + self.sigma * self.fixed, sigma)[-1].flatten(1)


class Middle(nn.Module):
    """The pooled middle layer of a classifier [N,256]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.net(x)["spatial"])


class Seen(EmbeddingLoss):
    """The Embedding Loss as a teacher's encoder or a small classifier sees images, and with a queue of past ones."""

    @frozen(kw_only=True)
    class Config(EmbeddingLoss.Config):
        by: str = field(default="networks", validator=in_(("networks", "teacher", "classifier")))
        """who sees: `embeddings`, the encoder of the teacher, or a classifier of the data with another seed"""
        sigmas: tuple[float, ...] = (0.6,)  # noise levels of the teacher's encoder, one embedding each
        queue: int = field(default=0, validator=ge(0))  # past generated images that are compared as well

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError for a queue by class: it keeps no labels."""
        if self.config.queue and self.config.mode != "marginal":
            raise UsageError('auxiliary_loss "embedding-seen": a queue goes with mode = "marginal" alone')
        self.past: dict[int, Tensor] = {}
        super().setup(state)

    def _draw(self, state: State, round: int) -> None:
        super()._draw(state, round)
        if self.config.by == "networks":
            return
        seed = noise.fold(state.seed, self.config.seed, "seen")
        if self.config.by == "teacher":
            if state.teacher is None or not hasattr(state.teacher.network, "encoder_features"):
                raise UsageError('auxiliary_loss "embedding-seen": by = "teacher" needs a teacher with an encoder')
            network = cast(EncoderFeatures, state.teacher.network)
            nets: list[nn.Module] = [
                Noised(network, sigma, self.space.shape, noise.fold(seed, str(i)))
                for i, sigma in enumerate(self.config.sigmas)
            ]
            self.names = [f"teacher, sigma {sigma:g}" for sigma in self.config.sigmas]
        else:
            images = state.dataset.images(torch.arange(len(state.dataset))).float()
            learnt = train(images, class_indices(state.dataset), PASSES * len(images) // 128, seed % 2**31)
            nets, self.names = [Middle(learnt.eval().requires_grad_(False))], ["classifier"]
        self.nets = [net.to(state.device, self.dtype) for net in nets]

    def _compare(
        self, state: State, step: Step, index: Tensor, i: int, real: Tensor, pairs: Tensor | None, fake: Tensor
    ) -> Tensor:
        """With the features of past images beside those of this batch; the gradient reaches the latter."""
        if not self.config.queue:
            return super()._compare(state, step, index, i, real, pairs, fake)
        past = self.past.get(i, fake.detach()[:0])
        value = super()._compare(state, step, index, i, real, pairs, torch.cat([fake, past]))
        self.past[i] = torch.cat([fake.detach(), past])[: self.config.queue]
        return value

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), **{f"past{i}": rows.clone() for i, rows in self.past.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.past = {int(key[4:]): rows for key, rows in state.items() if key.startswith("past")}
        super().load_state_dict(state)
