"""A fake score with an adversary as small as the recordings' own, and SiDA as the engine sets it up around it."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from distillkit_sid.sid import Sid
from torch import Tensor, nn

from distillkit.testing import Affine, toy_state
from distillkit.train.state import State

Method = TypeVar("Method", bound=Sid)


class Unet(Affine):
    """Affine, with logits 3 mean_c(C x) at every second pixel and an expected error of its own, u [N,1,1,1]."""

    logvar_channels = 1

    def __init__(self, A: Tensor, B: Tensor, C: Tensor, u: Tensor | None = None) -> None:
        super().__init__(A, B)
        self.C, self.u = nn.Parameter(C.clone()), None if u is None else nn.Parameter(u.clone())
        self.logits: list[Tensor] = []
        self.seen: list[Tensor] = []  # by the encoder

    def encoder(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        self.seen.append(x)
        self.logits.append((self.C * x).mean(1, keepdim=True)[:, :, ::2, ::2] * 3)
        return self.logits[-1]

    def encoder_decoder(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self(x, sigma, labels, augment_labels), self.encoder(x, sigma, labels, augment_labels)

    def logvar(self, sigma: Tensor) -> Tensor:
        assert self.u is not None
        return self.u


def ready(
    cls: type[Method], fake: Unet, channels: int, network: dict[str, Any] | None = None, **keys: Any
) -> tuple[Method, State]:
    """The method as the engine has set it up with such a teacher, and then another fake score."""
    state = toy_state(
        dataset={"resolution": 8, "channels": channels, "label_dim": 0},
        teacher_score={} if network is None else {"network": network},
        generator_loss={"use": cls.__name__.lower(), "noise": "lognormal", **keys},
    )  # fmt: skip
    loss = cast(Method, state.components["generator_loss"])
    loss.fake_score = cast(Any, fake)
    return loss, state
