"""The global batch of several ranks, as auxiliary terms see it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from distillkit.train.step import Step


class Whole(Step):
    """The global batch of several ranks, for auxiliary terms: `x` is gathered when touched."""

    def __init__(self, own: Step, counts: Sequence[int]) -> None:
        """`counts`: rows that each rank holds."""
        super().__init__(
            own.state, own.turn, 0, own.batch, own.batch, trains_generator=True, same_images_as=own.same_images_as,
            stream=own.stream, of_batch=True,
        )  # fmt: skip
        self._own, self._counts = own, counts
        self._x: Tensor | None = None

    @property
    def own(self) -> Step:
        return self._own

    @property
    def x(self) -> Tensor:
        # No cached_property: before Python 3.12 that holds a lock while it waits for the other ranks.
        if self._x is None:
            self._x = self.gather(self._own.x)
        return self._x

    def gather(self, rows: Tensor) -> Tensor:
        return self.state.ranks.gather(rows, self._counts)
