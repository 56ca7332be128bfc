"""A pretrained denoiser as teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distillkit.api import FILE, Denoiser, State, TeacherScore, UsageError, field, frozen, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class EdmTeacher(TeacherScore):
    """EDM network: the result of a run, or a released file such as a .pkl (arXiv:2206.00364)."""

    @frozen(kw_only=True)
    class Config:
        checkpoint: str | None = field(default=None, metadata=FILE)
        """result folder, student.safetensors, or a file to import (.pkl); or `from`"""

    network: Denoiser

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError without a checkpoint."""
        if self.config.checkpoint is None:
            raise UsageError(
                'teacher_score.checkpoint is missing; write checkpoint = "path/to/result" or from = "teacher.toml"'
            )
        network = state.load_network(self.config.checkpoint)
        self.network = network.to(state.device, state.dtype).eval().requires_grad_(False)

    @hookimpl
    def teacher_score(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """D of the network without augmentation labels, which equals labels of zeros."""
        return self.network(x, sigma, labels)
