"""The hooks of a run: what the engine asks of the components that the recipe named.

Implementations are methods of components marked `@hookimpl`; they may take any subset of the arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    from torch import Tensor

    from distillkit.api.network import Denoise
    from distillkit.api.state import Sampling, State
    from distillkit.api.step import Step
    from distillkit.api.types import Draw, Term

hookspec = pluggy.HookspecMarker("distillkit")
hookimpl = pluggy.HookimplMarker("distillkit")


class Hooks(Protocol):
    """Specifications; N images per (micro-)batch, C channels, H x W pixels, L labels."""

    @hookspec
    def setup(self, state: State) -> None:
        """Called once, in recipe order, before the first step: add critics, declare turns, load weights."""

    @hookspec(firstresult=True)
    def sample(self, state: Sampling, z: Tensor, labels: Tensor | None) -> Tensor:
        """Generate images x [N,C,H,W] in [-1,1] from unit normal z [N,C,H,W] with `state.generator`."""

    @hookspec(firstresult=True)
    def teacher_score(self, state: State, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """Denoise x [N,C,H,W] at noise level sigma [N,1,1,1] -> D [N,C,H,W]; the score is (D - x) / sigma^2."""

    @hookspec(firstresult=True)
    def critic_loss(self, state: State, step: Step) -> Tensor:
        """Loss [N], one per image, of a turn that trains a critic; asked in turns whose losses name it.

        A turn with a loss of its own, such as one that a term adds to the method's, names it: `Turn(..., asks=...)`.
        """

    @hookspec(firstresult=True)
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """Loss [N], one per image; its gradient reaches the generator at `step.x` or directly."""

    @hookspec
    def auxiliary_loss(self, state: State, step: Step) -> Term | None:
        """A further term on the whole batch of generated images `step.x`; None: nothing this time."""

    @hookspec
    def evaluate(self, state: State, draw: Draw) -> dict[str, float]:
        """Metrics by name; `draw(n, seed)` gives generated images of the EMA weights."""

    @hookspec
    def after_step(self, state: State) -> None:
        """Called after each iteration, when all turns and the EMA are done."""
