"""Feature maps of the teacher's own encoder: no download, and no classifier that an Inception metric would flatter."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from distillkit.api import Backbone, EncoderFeatures, State, UsageError, field, frozen, gt


class TeacherEncoder(Backbone):
    """The frozen teacher's encoder at one noise level: the last map of every resolution. Needs a U-Net."""

    @frozen(kw_only=True)
    class Config:
        sigma: float = field(default=0.5, validator=gt(0))  # noise level the encoder is told
        noise: bool = True  # add noise of that level to the images; false: only tell the level

    def module(self, state: State) -> nn.Module:
        """Raises UsageError where the teacher is no network with an encoder."""
        network = state.teacher.network if state.teacher else None
        if not isinstance(network, EncoderFeatures):
            raise UsageError(
                'backbone "teacher-encoder" needs a teacher that is a U-Net (an "edm-*" network); '
                'without one take "random-pyramid"'
            )
        return Encoder(network, self.config.sigma, self.config.noise)


class Encoder(nn.Module):
    """x [N,C,H,W], labels [N,L], randn_like -> maps [N,c,h,w], finest first."""

    def __init__(self, network: EncoderFeatures, sigma: float, noise: bool) -> None:
        super().__init__()
        self.network, self.sigma, self.noise = network, sigma, noise
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, labels: Tensor | None, randn_like: Callable[[Tensor], Tensor]) -> list[Tensor]:
        x_sigma = x + self.sigma * randn_like(x) if self.noise else x
        sigma = x.new_full((len(x), 1, 1, 1), self.sigma)
        by_size = {m.shape[2]: m for m in self.network.encoder_features(x_sigma, sigma, labels)}  # the last of a size
        return list(by_size.values())
