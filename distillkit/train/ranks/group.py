"""Several processes, over a wire that can add up, gather and tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from distillkit.api import DistillkitError, Lost, UsageError
from distillkit.train.ranks import pieces, through
from distillkit.train.ranks.alone import Ranks, Snapshot
from distillkit.train.ranks.assemble import assemble
from distillkit.train.ranks.said import portable, told
from distillkit.train.ranks.wire import Wire
from distillkit.train.records import Records

if TYPE_CHECKING:
    from distillkit.train.ranks.sharded import Sharded

T = TypeVar("T")
BUCKET = 25 * 2**20  # bytes added up at once: few collectives, and no second copy of all gradients


class Group(Ranks):
    """This process among several."""

    def __init__(self, wire: Wire, shard: int | None = None) -> None:
        """`shard`: ranks that are to share each network; None: as many as it takes."""
        self.wire, self.rank, self.size = wire, wire.rank, wire.size
        self.asked_shards, self.sharded = shard, cast("Sharded | None", None)
        self.count: dict[str, list[int]] = {}  # collectives so far and their bytes, by name
        self._agreed: Callable[[], list[int]] | None = None
        self._checked: set[str] = set()
        self.patience = True

    def _note(self, name: str, tensor: Tensor | None = None) -> None:
        entry = self.count.setdefault(name, [0, 0])
        entry[0] += 1
        entry[1] += 0 if tensor is None else tensor.numel() * tensor.element_size()

    # Tensors.

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        for bucket in buckets(tensors):
            flat = torch.cat([t.reshape(-1) for t in bucket])
            self._note("sum", flat)
            self.wire.sum_(flat)
            for t, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                t.copy_(part.view_as(t))

    def sum(self, x: Tensor) -> Tensor:
        added: Tensor = through.Sum.apply(x, self)  # type: ignore[no-untyped-call]
        return added

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        gathered: Tensor = through.Gather.apply(rows, self, list(counts))  # type: ignore[no-untyped-call]
        return gathered

    def gather_rows(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all ranks, in order; no gradient."""
        most = max(counts)
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        self._note("gather", padded)
        found = self.wire.gather(padded)
        if min(counts) == most:
            return found
        return torch.cat([part[:n] for part, n in zip(found.split(most), counts, strict=True)])

    def gathered(self, rows: Tensor) -> Tensor:
        return self.gather_rows(rows, self.wire.collect(len(rows)))

    # Networks in pieces.

    def divide(self, networks: Sequence[nn.Module], device: torch.device, trained: int) -> None:
        shards = pieces.needed(networks, device, trained, self.size) if self.asked_shards is None else self.asked_shards
        if self.size % shards:
            raise UsageError(f"--shard {shards}: the number of processes, {self.size}, is no multiple of it")
        if shards == 1:
            return
        from distillkit.train.ranks.sharded import Sharded

        self.spread(({f"{i}/{k}": t for i, net in enumerate(networks) for k, t in net.state_dict().items()}, {}))
        self.shards, self.sharded = shards, Sharded(networks, self.size, shards, device, self.refuse_alone)

    def refuse_alone(self) -> None:
        """Raises UsageError where the first rank is at work by itself: a pass needs the pieces of all."""
        if self.listening:
            raise UsageError("a network in pieces cannot be asked by one process alone: not with --shard")

    def lending(self) -> AbstractContextManager[None]:
        return self.wire.used() if self.sharded else nullcontext()

    def give_back(self) -> None:
        if self.sharded:
            self.sharded.reshard()

    def norm(self, grads: Sequence[Tensor]) -> Tensor:
        if not any(pieces.cut(grad) for grad in grads):
            return super().norm(grads)
        parts = [pieces.local(grad) for grad in grads if pieces.cut(grad)]
        squares = sum((part.double().square().sum() for part in parts), torch.zeros((), dtype=torch.float64))
        self.sum_([squares])
        # Where ranks have the same pieces, each was counted so often.
        squares = squares * self.shards / self.size
        squares = sum((grad.double().square().sum() for grad in grads if not pieces.cut(grad)), squares)
        return squares.sqrt().to(grads[0].dtype)

    # Agreement.

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        # Begun now and read an iteration later: nobody waits for the slowest process of the moment.
        before, self._agreed = self._agreed, self.wire.most([int(flag) for flag in flags])
        self._note("agree")
        return tuple(map(bool, before())) if before else (False,) * len(flags)

    def settle(self) -> None:
        if self._agreed:
            self._agreed()
        self._agreed = None

    def alike(self, what: str, facts: Callable[[], Any], refused: type[DistillkitError] | None = None) -> None:
        if what in self._checked:
            return
        self._checked.add(what)
        # Once: parameter lists that differ would make ranks wait for each other in different sums.
        mine, *others = self.wire.collect(facts())
        for rank, theirs in enumerate(others, 1):
            if theirs != mine:
                text = f"{what}: rank {rank} has {told(theirs, mine)}, rank 0 {told(mine, theirs)}"
                raise (refused or UsageError)(text)

    def together(self, make: Callable[[], T]) -> T:
        made, error = None, None
        try:
            made = make()
        except Lost:
            raise
        except Exception as own:
            error = own
        for rank, theirs in enumerate(self.wire.collect(None if error is None else portable(error, self.rank))):
            if theirs is not None and rank == self.rank and error is not None:
                raise error
            if theirs is not None:
                raise theirs if rank == 0 else type(theirs)(f"rank {rank}: {theirs}")
        return cast(T, made)

    def share(self, make: Callable[[], T]) -> T:
        made, error = None, None
        if self.first:
            try:
                made = make()
            except Exception as own:
                error = own
        found, theirs = self.wire.tell((made, None if error is None else portable(error)))
        if theirs is not None:
            raise error or theirs
        return cast(T, found)

    def those_of_all(self, thing: T) -> list[T]:
        return self.wire.collect(thing)

    def collect(self, records: Records) -> None:
        self._note("records")
        totals: dict[str, list[float]] = {}
        for state in self.wire.collect(records.state()):
            for name, (value, count) in state.items():
                entry = totals.setdefault(name, [0.0, 0])
                entry[0] += value
                entry[1] += count
        device = next(iter(records.sums.values())).device if records.sums else torch.device("cpu")
        records.clear()
        if self.first:
            records.load(totals, device)

    def spread(self, snapshot: Snapshot) -> Snapshot:
        tensors, meta = snapshot
        own = {name: t for name, t in tensors.items() if pieces.cut(t)}  # each rank has read its own
        tensors = {name: t for name, t in tensors.items() if name not in own}
        # Kinds of devices: "cuda" is another one of them in each process.
        shapes = {name: (t.shape, t.dtype, t.device.type) for name, t in tensors.items()}
        shapes, meta = self.wire.tell((shapes, meta))
        if not self.first:
            tensors = {name: torch.empty(shape, dtype=dtype, device=at) for name, (shape, dtype, at) in shapes.items()}
        for name in shapes:
            # As bytes: any dtype goes over any wire; a tensor that is not contiguous is sent as a copy of it.
            flat = tensors[name].contiguous().reshape(-1).view(torch.uint8)
            self._note("spread", flat)
            self.wire.send_(flat)
            if flat.data_ptr() != tensors[name].data_ptr():
                tensors[name].copy_(flat.view(tensors[name].dtype).view(tensors[name].shape))
        return tensors | own, meta

    def assemble(self, make: Callable[[], list[Tensor]]) -> tuple[list[Tensor], Exception | None]:
        self._note("assemble")
        return assemble(self.wire, make)

    # How it ends.

    def begin(self) -> None:
        self.patience = True
        self._checked.clear()
        self.wire.hurry(False)

    def hurry(self) -> None:
        if self.patience:
            self.patience = False
            self.wire.hurry(True)

    def fail(self, code: int, text: str) -> None:
        self.wire.fail(code, text)

    def leave(self, well: bool) -> None:
        self.wire.leave(well)

    # The first rank at work by itself; the others listen.

    @contextmanager
    def leading(self) -> Iterator[dict[str, Any]]:
        end: dict[str, Any] = {}
        self.listening = True
        try:
            yield end
        except BaseException as error:
            # In a collective halfway, another word would meet the wrong call of theirs.
            if self.listening:  # else they meet the same error, or learn of it by the store
                self._say("raise", error=portable(error))
            raise
        self._say("", **end)

    def _say(self, word: str, **facts: Any) -> None:
        with self.undisturbed():
            self.listening = False
            self.wire.tell((word, facts))

    @contextmanager
    def asked(self, word: str, **facts: Any) -> Iterator[None]:
        self._say(word, **facts)
        yield
        self.listening = True

    def listen(self, words: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
        while True:
            word, facts = self.wire.tell(None)
            if word == "raise":
                raise facts["error"]
            if word == "":
                return dict(facts)
            words[word](**facts)


def buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one dtype, up to BUCKET bytes."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or size >= BUCKET):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel() * tensor.element_size()
    if bucket:
        yield bucket
