"""Small values that pass between the engine and plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from attrs import field, fields, frozen
from attrs.validators import and_, deep_iterable, ge, gt, lt, optional

from distillkit.api.choice import Choice
from distillkit.api.deprecated import renamed
from distillkit.api.errors import PluginError
from distillkit.api.keys import INFINITE
from distillkit.api.optimizer import Schedule, UpdateRule
from distillkit.api.validators import NameOrChoice

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from distillkit.api.kinds import Sample
    from distillkit.api.state import State
    from distillkit.api.step import Step


@frozen
class Term:
    """One auxiliary loss: a scalar `value` [], weighted as the recipe says.

    Its gradient at `step.x` is what autograd finds, or `grad` [N,C,H,W] where the term knows it; then `value` has no
    graph.
    """

    name: str
    value: Tensor
    weight: float | None = None  # what weight = "auto" is for this term; none: balanced against the host
    grad: Tensor | None = None


@frozen(kw_only=True)
class Optimizer:
    """Settings of one optimizer; `[generator.optimizer]` in a recipe, or a critic's, given by its method."""

    name: str | Choice[UpdateRule] = field(default="adam", validator=NameOrChoice(UpdateRule.own))
    """rule of the update: the engine's, or a plugin's, by its name or a table with its keys"""
    lr: float = field(default=1e-5, validator=gt(0))  # learning rate
    betas: tuple[float, float] = field(default=(0.0, 0.999), validator=deep_iterable(and_(ge(0), lt(1))))
    """decay per update of the averages of the gradient and of its square"""
    eps: float = field(default=1e-8, validator=gt(0))
    """added to the root of the squared gradient; 1e-6 where networks run in half precision"""
    weight_decay: float = field(default=0.0, validator=ge(0))  # pull of the weights towards 0
    warmup_kimg: float = field(default=0.0, validator=ge(0))  # images in which lr rises linearly from 0
    schedule: str | Choice[Schedule] = field(default="constant", validator=NameOrChoice(Schedule.own))
    """of lr after the warm-up: the engine's, or a plugin's, by its name or a table with its keys"""
    decay_from: float = field(default=0.0, validator=ge(0))  # "cosine": share of the run after which lr falls
    final_lr: float = field(default=0.0, validator=ge(0))  # "cosine": lr at the end, as a share of lr
    ref_kimg: float = field(default=143_360.0, validator=gt(0))  # "inverse_sqrt": images after which lr falls
    clip_norm: float | None = field(default=None, validator=optional(gt(0)), metadata=INFINITE)
    """largest norm of all gradients together; inf, or unset: any"""
    clip_value: float | None = field(default=None, validator=optional(gt(0)), metadata=INFINITE)
    """largest value of each entry of a gradient; inf, or unset: any"""

    @classmethod
    def of(cls, config: Any, **more: Any) -> Optimizer:
        """With those keys that a method's Config has, by their names, for a critic; `more` in place of any."""
        same = {one.name: getattr(config, one.name) for one in fields(cls) if hasattr(config, one.name)}
        return cls(**same | more)

    @property
    def depends_on_kimg(self) -> bool:
        """Whether lr at some image depends on how long the whole run is. A Config says the same of its own schedule."""
        if isinstance(self.schedule, Choice):
            return self.schedule.build().depends_on_kimg
        return self.schedule == "cosine"


@renamed(after_kimg="start_kimg", images_of="same_images_as")
@frozen(kw_only=True)
class Turn:
    """One update within an iteration: whose parameters, from which loss hooks, how often.

    A turn that names both losses computes them on one and the same `step` (shared forward passes).
    """

    name: str
    trains: tuple[str, ...]  # names of networks in `state.networks`
    losses: tuple[str, ...] = ("critic_loss",)  # "critic_loss", "generator_loss"
    every: int = field(default=1, validator=ge(1))  # iterations
    first: int = field(default=0, validator=ge(0))  # iteration of the first update: first, first + every ...
    start_kimg: float = field(default=0.0, validator=ge(0))  # no update before so many images
    stop_kimg: float | None = None  # none from so many images on
    same_images_as: str = ""
    """another turn: this one gets its z and labels and, if it has just trained the generator, its very images"""
    asks: Callable[[State, Step], Tensor] | None = field(default=None)
    """gives "critic_loss" of this turn, one loss per image [N]; None: the hook does"""

    @asks.validator
    def _asked(self, attribute: Any, value: object) -> None:
        if value is not None and "critic_loss" not in self.losses:
            raise PluginError(f"turn {self.name!r} would never ask `asks`: its losses are {self.losses}")


class Images(NamedTuple):
    """Generated images x [n,C,H,W] in [-1,1] and the labels [n,L] they were asked for."""

    x: Tensor
    labels: Tensor | None


class Picture(NamedTuple):
    """A stored image of any size: its name, pixels uint8 [H,W,C] (an array), its label and its caption.

    One that cannot be read has a `fault`, a line that names it, and no pixels.
    """

    name: str
    pixels: Any
    label: int | list[float] | None = None
    fault: str = ""
    words: str | None = None


class Draw(Protocol):
    """Generates images first ... first+n-1 with the EMA weights; image i depends on (seed, i) only, not on n.

    Image i of seed s has EDM's image seed 50000 s + i; labels: [n,L], "random" (that seed's class), None (i mod L).
    """

    nfe: int  # network calls per image

    def __call__(
        self, n: int, seed: int = 0, labels: Tensor | Literal["random"] | None = None, first: int = 0
    ) -> Images: ...

    def features(
        self, net: Callable[[Tensor], Tensor], n: int, seed: int = 0, labels: Tensor | Literal["random"] | None = None,
        first: int = 0, batch: int = 256,
    ) -> Tensor:  # fmt: skip
        """net(x) -> [m,D] of those images, [n,D] on the CPU, without ever holding or sending them all.

        x: `batch` images at a time [m,C,H,W], float32, on the run's device, to which a module is moved.
        """

    def teacher(self, sampler: Sample) -> Draw:
        """The same of the teacher, by another sampler, from the same noise."""
