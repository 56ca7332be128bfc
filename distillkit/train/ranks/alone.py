"""What a run asks of its processes. One process alone: each answer is its own.

"Rows" are those of the global batch. A rank holds whole micro-batches where the recipe names a size, else a share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from distillkit.api import DistillkitError
    from distillkit.train.records import Records

T = TypeVar("T")
Snapshot = tuple[dict[str, Any], dict[str, Any]]  # tensors by name, and JSON values


def share(n: int, rank: int, size: int) -> slice:
    """A rank's part of n items of any work, as equal as can be."""
    return slice(n * rank // size, n * (rank + 1) // size)


def passes(batch: int, micro_batch: int | None, rank: int, size: int, group: int = 1) -> list[tuple[int, int]]:
    """(first, n) of each forward pass of a rank: a share of the rows, or of the micro-batches, as equal as can be.

    `group`: neighbouring rows that no share takes apart.
    """
    if micro_batch is None:
        rows = share(batch // group, rank, size)
        return [(rows.start * group, (rows.stop - rows.start) * group)]
    units = share(batch // micro_batch, rank, size)
    return [(i * micro_batch, micro_batch) for i in range(units.start, units.stop)]


class Ranks:
    """This process among those of the run."""

    rank = 0
    size = 1
    listening = False  # on the first rank: whether the others wait for its word
    asked_shards: int | None = None
    shards = 1  # ranks that share each network: each of them holds a piece of every tensor; 1: all of it
    # Inside, no signal interrupts: a rank that leaves a collective halfway leaves the others waiting.
    undisturbed: Callable[[], AbstractContextManager[None]] = staticmethod(nullcontext)

    @property
    def first(self) -> bool:
        """Whether this process decides, writes and prints."""
        return self.rank == 0

    def passes(self, batch: int, micro_batch: int | None, group: int = 1) -> list[tuple[int, int]]:
        """(first, n) of each forward pass of this rank."""
        return passes(batch, micro_batch, self.rank, self.size, group)

    def counts(self, batch: int, micro_batch: int | None, group: int = 1) -> list[int]:
        """Rows of the batch that each rank holds."""
        return [sum(n for _, n in passes(batch, micro_batch, rank, self.size, group)) for rank in range(self.size)]

    def rows(self, n: int) -> slice:
        """This rank's share of n items of any work."""
        return share(n, self.rank, self.size)

    # Tensors.

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over ranks."""

    def sum(self, x: Tensor) -> Tensor:
        """The sum over ranks; differentiable: the loss of each rank may depend on it in its own way."""
        return x

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all ranks, in order; the gradient goes to this rank's own, times the number of ranks.

        That is the gradient of the sum over ranks of one and the same loss, without communication backwards.
        """
        return rows

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, in order, however many each has; no gradient."""
        return rows

    # Networks in pieces.

    def divide(self, networks: Sequence[nn.Module], device: torch.device, trained: int) -> None:
        """Cut networks, which are built, into pieces where ranks share them; `trained`: parameters with moments.

        Raises UsageError where they cannot be shared as was asked.
        """

    def lending(self) -> AbstractContextManager[None]:
        """Around passes, in which ranks lend each other their pieces. Raises Lost where one of them is gone."""
        return nullcontext()

    def give_back(self) -> None:
        """Keep of all networks this rank's pieces alone, as they are now; passes borrow the others' again."""

    def norm(self, grads: Sequence[Tensor]) -> Tensor:
        """Norm [] of gradients that are summed, all pieces together; not finite if any of them is not."""
        from torch.nn.utils import get_total_norm

        return get_total_norm(grads)

    # Agreement.

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """What is so on any rank, of an iteration ago where there are several; one rank knows at once."""
        return flags

    def settle(self) -> None:
        """Wait for what `agree` began."""

    def alike(self, what: str, facts: Callable[[], Any], refused: type[DistillkitError] | None = None) -> None:
        """Raises `refused`, by default UsageError, unless `facts` are the same on all ranks."""

    def together(self, make: Callable[[], T]) -> T:
        """What `make` gives here, once it has succeeded on all ranks; else the first error, on all of them."""
        return make()

    def share(self, make: Callable[[], T]) -> T:
        """What `make` gives on the first rank, on all of them; its error too."""
        return make()

    def those_of_all(self, thing: T) -> list[T]:
        """What each rank has."""
        return [thing]

    def collect(self, records: Records) -> None:
        """Move what all ranks recorded to the first one's records."""

    def spread(self, snapshot: Snapshot) -> Snapshot:
        """The first rank's snapshot, on all of them."""
        return snapshot

    def assemble(self, make: Callable[[], list[Tensor]]) -> tuple[list[Tensor], Exception | None]:
        """The rows that `make` gives on each rank, in order, on the first one's CPU; on the others [].

        `make` gives as many tensors [m, ...] everywhere, or none where it has no rows. An error of any rank is not
        raised but is the second result, everywhere: those that listen go on doing so.
        """
        return make(), None

    # How it ends.

    def begin(self) -> None:
        """A recipe begins, and a rank may be silent for long: downloads, training of features, compilation."""

    def hurry(self) -> None:
        """The first iteration is done: from now on no rank is silent for long."""

    def fail(self, code: int, text: str) -> None:
        """This rank ends with an error: leave the reason for the others."""

    def leave(self, well: bool) -> None:
        """End together; `well`: without an error."""

    # The first rank at work by itself; the others listen.

    @contextmanager
    def leading(self) -> Iterator[dict[str, Any]]:
        """On the first rank: inside, the others listen to it; at the end they hear what is put into the dict."""
        yield {}

    @contextmanager
    def asked(self, word: str, **facts: Any) -> Iterator[None]:
        """On the first rank, while it leads: tell the others a word, and do with them inside what it means."""
        yield

    def listen(self, words: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
        """On the others: do what the first rank asks for until its work is over -> what it says at the end."""
        return {}
