"""What carries numbers and objects between ranks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor


class Wire(Protocol):
    """What carries numbers and objects between ranks; raises Lost where another is gone."""

    rank: int
    size: int

    def sum_(self, flat: Tensor) -> None:
        """Replace by the sum over ranks, the same bits on all."""

    def gather(self, rows: Tensor) -> Tensor:
        """[M, ...] of each rank -> [size * M, ...]."""

    def bring(self, rows: Tensor) -> list[Tensor]:
        """[M, ...] of each rank, on a CPU -> all of them on the first rank; [] on the others."""

    def send_(self, tensor: Tensor) -> None:
        """Replace by the first rank's."""

    def tell(self, thing: Any) -> Any:
        """The first rank's, on all."""

    def collect(self, thing: Any) -> list[Any]:
        """Those of all ranks, on all."""

    def most(self, flags: list[int]) -> Callable[[], list[int]]:
        """Begin to find the largest over ranks of each -> waits for them."""

    def used(self) -> AbstractContextManager[None]:
        """Inside, networks in pieces use it by themselves: its errors are Lost all the same."""

    def hurry(self, on: bool) -> None:
        """Whether from now on no rank is silent for long."""

    def fail(self, code: int, text: str) -> None:
        """Leave word of why this rank ends."""

    def leave(self, well: bool) -> None:
        """End together."""
