"""What a network is to the engine and to methods, and what some networks can do besides.

An ability is a Protocol: `isinstance(network, EncoderFeatures)` asks for it, and its methods are there to call.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Denoise(Protocol):
    """D(x; sigma, labels), the denoised image; the score is (D - x) / sigma^2. A network, or `state.teacher_score`."""

    @property
    def sigma_min(self) -> float:
        """Lowest noise level that it was made for, in units of the images; 0: any."""

    @property
    def sigma_max(self) -> float:
        """Highest noise level that it was made for; infinite: any."""

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """D [N,C,H,W] of x [N,C,H,W]; sigma [N,1,1,1] or anything that broadcasts to it, labels [N,L] or None."""


class Denoiser(Denoise, Protocol):
    """A network: an `nn.Module` with these attributes."""

    @property
    def resolution(self) -> int:
        """H = W of its images, in pixels."""

    @property
    def channels(self) -> int:
        """C of its images."""

    @property
    def label_dim(self) -> int:
        """L, the width of its labels; 0: unconditional."""

    @property
    def augment_dim(self) -> int:
        """A, the width of its augmentation labels; 0: it takes none."""

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the images that its preconditioning assumes."""

    compute_dtype: torch.dtype | None
    """What its layers run in, torch.bfloat16 or None: the dtype of its weights. The engine sets it."""

    def __call__(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """The denoised image D [N,C,H,W], in the dtype of the weights.

        x [N,C,H,W], sigma [N,1,1,1] or anything that broadcasts to it, labels [N,L], augment_labels [N,A].
        No labels mean labels of zeros.
        """

    # What is used of torch.nn.Module.

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """The weights, in a fixed order."""

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights with their names, in the same order."""

    def state_dict(self) -> dict[str, Any]:
        """Weights and buffers by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Put weights and buffers back. Raises RuntimeError where they do not fit."""

    def train(self, mode: bool = True) -> Self:
        """Training mode on or off, dropout for example -> itself."""

    def eval(self) -> Self:
        """Training mode off -> itself."""

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether the weights collect gradients -> itself."""

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move to a device or a dtype -> itself."""


class Teacher(Denoise, Protocol):
    """A teacher with its guidance, called like a network: `state.teacher_score`, or one of `state.teacher_from`."""

    @property
    def network(self) -> Denoiser | None:
        """Its network, frozen and without the guidance; None: it is in closed form, or there is none."""


@runtime_checkable
class Rebuildable(Protocol):
    """A network that a result can be rebuilt from: one of `state.new_network` or `state.load_network`, or a copy."""

    card: dict[str, Any]
    """{"network": {"use": ..., its keys}, "resolution", "channels", "label_dim"}, as in student.json. The engine's."""


@runtime_checkable
class EncoderFeatures(Protocol):
    """A network whose encoder's layers can be seen: for discriminators on its features (DMD2, GDD)."""

    def encoder_features(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> list[Tensor]:
        """Outputs [N,c,h,w] of the encoder's layers, finest first, in the dtype of the weights; no decoder runs."""


@runtime_checkable
class EncoderDecoder(Protocol):
    """A network whose encoder is a discriminator as well: its last output's mean over channels is a logit (SiDA)."""

    def encoder(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """Logits [N,1,h,w]; the decoder does not run."""

    def encoder_decoder(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """D [N,C,H,W] and the encoder's logits [N,1,h,w], from one pass."""


@runtime_checkable
class DenoisedFeatures(EncoderFeatures, Protocol):
    """One that gives them from the pass that denoises."""

    def denoised_features(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """D [N,C,H,W] and what `encoder_features` gives, from one pass."""


@runtime_checkable
class LogVar(Protocol):
    """A network that estimates its own error: u(sigma), ln of the expected squared error (EDM2)."""

    @property
    def logvar_channels(self) -> int:
        """Width of what estimates it; 0: this network was made without, and `logvar` must not be called."""

    def logvar(self, sigma: Tensor | float) -> Tensor:
        """u [N,1,1,1] of sigma [], [N] or [N,1,1,1]; it trains with the network."""


@runtime_checkable
class FlowMap(Protocol):
    """A network that jumps from one noise level to any lower one: `net(x, sigma, labels, r=r)` gives D for that jump.

    x_r = D + (r / sigma) (x - D) is where the flow takes x from sigma to r. r = sigma asks for the denoised image as
    ever, r = 0 for where the flow ends; without r, r = sigma.
    """

    @property
    def second_time(self) -> bool:
        """Whether this network was made to take r; where it was not, none may be given."""

    def __call__(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None, *,
        r: Tensor | float | None = None,
    ) -> Tensor:  # fmt: skip
        """D [N,C,H,W]; r: noise level to jump to, 0 ... sigma, [N,1,1,1] or anything that broadcasts to it."""


@runtime_checkable
class Blocks(Protocol):
    """A network that says how it may be taken apart: for networks too large for one device (`run --shard`)."""

    def blocks(self) -> list[nn.Module]:
        """Its parts, each called as a module and in this order; the weights of one at a time are borrowed whole.

        Where a network names none, modules of more than 10 million parameters are taken for them.
        """


@runtime_checkable
class OncePerTurn(Protocol):
    """A module that changes its weights or buffers by itself while it trains.

    Once in each turn, and in no pass: the number of passes is that of micro-batches, which ranks share among them.
    """

    def begin_turn(self) -> None:
        """Called before the first pass of each turn that trains it."""


@runtime_checkable
class ForcedNormalization(Protocol):
    """A network that keeps its weights at a norm of 1 while it trains (EDM2)."""

    def force_normalization(self, on: bool) -> None:
        """Whether training overwrites weights by their normalised values; what the network computes is the same."""


# What methods call of a network beside `forward`.
METHODS = sorted({name for ability in (EncoderDecoder, EncoderFeatures, LogVar) for name, member in
                  inspect.getmembers(ability, inspect.isfunction) if not name.startswith("_")})  # fmt: skip
