"""How weights move, and how the learning rate changes: what an `Optimizer` may name of a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from distillkit.api.component import Component

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from distillkit.api.types import Optimizer


class UpdateRule(Component):
    """How weights move, as an optimizer's `name`; each by itself, from its gradient.

    Functions without side effects: the engine keeps the state, saves it, and leaves everything as it is where an update
    is skipped, which the device knows alone: nothing here may wait for it.
    """

    kind = "optimizer"
    own: ClassVar[tuple[str, ...]] = ("adam", "adamw", "radam")  # names that are the engine's
    # Every number of a weight moves by its own gradient and state: so it does in pieces of weights (--shard) too.
    elementwise: ClassVar[bool] = False

    def prepare(self, weights: Mapping[str, Tensor], settings: Optimizer) -> None:
        """Before anything trains: the weights of the network by name, and the other keys of the optimizer's table.

        Raises UsageError for what cannot be.
        """
        self.settings = settings

    def begin(self, name: str, p: Tensor) -> dict[str, Tensor]:
        """State of a weight before its first update: tensors like it or [], in its dtype, but none called "step"."""
        return {}

    def move(
        self, name: str, p: Tensor, grad: Tensor, state: Mapping[str, Tensor], t: Tensor, lr: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weight and its state after update number t ([], float32, from 1); changes nothing that it is given.

        `grad` is clipped as the table says; `lr` is that of these images, warm-up and schedule in it.
        """
        raise NotImplementedError

    def agree(self, states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """What all weights of the network have in common, after each moved: numbers [] that go into each state."""
        return {}


class Schedule(Component):
    """How lr changes with images, as an optimizer's `schedule`; the warm-up is the engine's, and comes before."""

    kind = "schedule"
    own: ClassVar[tuple[str, ...]] = ("constant", "cosine", "inverse_sqrt")

    @property
    def depends_on_kimg(self) -> bool:
        """Whether `factor` at some image depends on how long the whole run is."""
        return True

    def factor(self, nimg: int, total: int) -> float:
        """Factor >= 0 of lr for the update that starts at `nimg` of `total` images, and by nothing else."""
        raise NotImplementedError
