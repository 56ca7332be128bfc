"""Several processes of a run, simulated by threads that take turns: the same collectives, and no process to start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from distillkit.train.ranks.group import Group

T = TypeVar("T")
PATIENCE = 120.0  # seconds: a rank that does not come was lost in a branch that the others did not take


def simulated(size: int, work: Callable[[Group], T]) -> list[T]:
    """What `work` gives on each of `size` ranks. Raises the first error of any.

    One thread runs at a time, and hands over where it waits for the others: seeds of torch's own generators hold.
    """
    table, found, errors = _Table(size), [None] * size, []

    def body(rank: int) -> None:
        with table.turn:
            try:
                found[rank] = work(Group(_Thread(rank, size, table)))  # type: ignore[call-overload]
            except BaseException as error:
                errors.append(error)
                table.barrier.abort()

    threads = [threading.Thread(target=body, args=(rank,), name=f"rank {rank}") for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found  # type: ignore[return-value]


class _Table:
    """Where the ranks lay down what they have."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=PATIENCE)
        self.turn = threading.Lock()
        # Two, in turn: nobody is further than one exchange ahead of another.
        self.places: list[list[Any]] = [[None] * size, [None] * size]


class _Thread:
    """The wire of one thread."""

    def __init__(self, rank: int, size: int, table: _Table) -> None:
        self.rank, self.size, self.table = rank, size, table
        self.exchanges = 0

    def collect(self, thing: Any) -> list[Any]:
        place = self.table.places[self.exchanges % 2]
        self.exchanges += 1
        place[self.rank] = thing
        self.table.turn.release()
        try:
            self.table.barrier.wait()
        finally:
            self.table.turn.acquire()
        return list(place)

    def sum_(self, flat: Tensor) -> None:
        total, *others = self.collect(flat.detach().clone())
        total = total.clone()
        for other in others:
            total += other
        flat.copy_(total)

    def gather(self, rows: Tensor) -> Tensor:
        return torch.cat(self.collect(rows.detach().clone()))

    def bring(self, rows: Tensor) -> list[Tensor]:
        found = self.collect(rows.detach().clone())
        return found if self.rank == 0 else []

    def send_(self, tensor: Tensor) -> None:
        tensor.copy_(self.collect(tensor.detach().clone())[0])

    def tell(self, thing: Any) -> Any:
        return self.collect(thing)[0]

    def most(self, flags: list[int]) -> Callable[[], list[int]]:
        found = [max(several) for several in zip(*self.collect(flags), strict=True)]
        return lambda: found

    def used(self) -> AbstractContextManager[None]:
        return nullcontext()

    def hurry(self, on: bool) -> None:
        pass

    def fail(self, code: int, text: str) -> None:
        pass

    def leave(self, well: bool) -> None:
        pass
