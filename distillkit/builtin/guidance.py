"""Guidance: the teacher's denoised image, moved away from that of a weaker one."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from distillkit.api import FILE, Guidance, State, UsageError, field, frozen, ge, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class ClassifierFree(Guidance):
    """Classifier-free: away from the same teacher without a label (arXiv:2207.12598); doubles its cost.

    D = D_uncond + scale (D_cond - D_uncond). The teacher must have been trained with labels left out now and then.
    """

    @frozen(kw_only=True)
    class Config:
        scale: float = field(default=1.5, validator=ge(0))
        """strength of the guidance; 1: none at all; the paper's w is scale - 1"""

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError without labels to leave out."""
        if not state.dataset.label_dim:
            raise UsageError("[teacher_score.guidance] classifier-free needs labels, and the data set has none")

    @hookimpl(wrapper=True)
    def teacher_score(
        self, state: State, x: Tensor, sigma: Tensor, labels: Tensor | None
    ) -> Generator[None, Tensor, Tensor]:
        D = yield
        if labels is None:  # this is the unconditional call below
            return D
        uncond = state.teacher_score(x, sigma, None)
        return uncond.lerp(D, self.config.scale)


class Autoguidance(Guidance):
    """Autoguidance: away from a weaker version of the teacher, smaller or less trained (arXiv:2406.02507).

    D = D_guide + scale (D_teacher - D_guide), Eq. (3). Costs the guide's call; works without labels too.
    """

    @frozen(kw_only=True)
    class Config:
        guide: str = field(metadata=FILE)  # result folder of a run, or student.safetensors, of the weaker network
        scale: float = field(default=2.0, validator=ge(0))  # strength of the guidance; 1: none at all

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises InputError if the guide cannot be read, UsageError if it is for other images."""
        guide, dataset = state.load_network(self.config.guide), state.dataset
        shapes = [(one.channels, one.resolution, one.label_dim) for one in (guide, dataset)]
        if shapes[0] != shapes[1]:
            words = "{} channels, {} px, {} labels"
            raise UsageError(
                f"[teacher_score.guidance] guide {self.config.guide!r} is for {words.format(*shapes[0])}; "
                f"the data set has {words.format(*shapes[1])}"
            )
        self.network = guide.to(state.device, state.dtype)
        self.network.compute_dtype = state.compute_dtype

    @hookimpl(wrapper=True)
    def teacher_score(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Generator[None, Tensor, Tensor]:
        D = yield
        return self.network(x, sigma, labels).lerp(D, self.config.scale)
