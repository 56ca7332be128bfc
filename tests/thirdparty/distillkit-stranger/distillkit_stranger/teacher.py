"""A denoiser, with or without its architecture."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.api import Choice, Network, State, TeacherScore, Use, field, frozen, ge, hookimpl
from distillkit_stranger.network import Convolutions


class StrangersTeacher(TeacherScore):
    """A network of random weights, which stand for those of a file; students can start from it."""

    @frozen(kw_only=True)
    class Config:
        seed: int = field(default=0, validator=ge(0))  # of the weights
        network: Choice[Network] = Use("stranger")  # its architecture

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        self.network = state.new_network(self.config.network, self.config.seed).eval().requires_grad_(False)

    @hookimpl
    def teacher_score(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        assert self.network is not None
        return self.network(x, sigma, labels)


class BareTeacher(TeacherScore):
    """A network that nothing is said of but what docs/plugins.md lists."""

    @hookimpl
    def setup(self, state: State) -> None:
        data = state.dataset
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = Convolutions(data.resolution, data.channels, data.label_dim, 8)
        self.network = network.to(state.device, state.dtype).eval().requires_grad_(False)

    @hookimpl
    def teacher_score(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        assert self.network is not None
        return self.network(x, sigma, labels)
