"""torch.distributed as the wire between ranks, and nothing of it outside this room."""

from __future__ import annotations

import faulthandler
import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import rendezvous

from distillkit.api import Diverged, Lost, Preempted
from distillkit.train.ranks.beat import WORDS, Ear, Heart

T = TypeVar("T")
PATIENCE = timedelta(minutes=10)  # until the first iteration: downloads, classifiers, compilation
AWHILE = timedelta(seconds=2)  # for a rank that failed to say why
OF_WIRES = "gloo", "NCCL", "imed out", "Connection", "socket"  # in errors of collectives that torch makes by itself
REASON, ENDED = "distillkit/reason", "distillkit/ended"


class Distributed:
    """The default process group: gloo for what is on CPUs, NCCL for GPUs."""

    def __init__(self, seconds: float) -> None:
        """Join it; `seconds`: how long the others may be silent, later on."""
        self.seconds = seconds
        self.code = 0  # what this rank ends with
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            self.store, self.rank, self.size = attended(lambda: next(rendezvous("env://", timeout=PATIENCE)))
            dist.init_process_group(
                backend, store=self.store, rank=self.rank, world_size=self.size, timeout=PATIENCE
            )  # fmt: skip
        except RuntimeError as error:
            raise Lost(f"cannot join the other processes: {short(error)}") from error
        self.words = 0  # of the first rank so far
        self.heart = Heart(self.store.clone()) if self.rank == 0 else None
        self.heard = self.store.clone()  # a connection of its own: one that waits keeps it

    def sum_(self, flat: Tensor) -> None:
        with self.wrapped():
            dist.all_reduce(flat)

    def gather(self, rows: Tensor) -> Tensor:
        found = rows.new_empty(self.size * len(rows), *rows.shape[1:])
        with self.wrapped():
            dist.all_gather_single(found, rows)
        return found

    def bring(self, rows: Tensor) -> list[Tensor]:
        found = [torch.empty_like(rows) for _ in range(self.size)] if self.rank == 0 else None
        with self.wrapped():
            dist.gather(rows, found, 0)
        return found or []

    def send_(self, tensor: Tensor) -> None:
        with self.wrapped():
            dist.broadcast(tensor, 0)

    def tell(self, thing: Any) -> Any:
        self.words += 1
        if self.rank == 0:
            with self.wrapped():
                self.store.add(WORDS, 1)
        else:
            self.listen()
        box = [thing]
        with self.wrapped():
            dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return box[0]

    def listen(self) -> None:
        """Wait for the first rank's next word: it may work by itself for longer than a rank is silent, and lives."""
        ear = Ear(self.heard, self.words)
        if not ear.wait(self.seconds):
            raise self.lost(RuntimeError(f"timed out: rank 0 has shown no sign of life for {self.seconds:g} s"))
        if ear.error:
            raise self.lost(RuntimeError(ear.error))

    def collect(self, thing: Any) -> list[Any]:
        boxes: list[Any] = [None] * self.size
        with self.wrapped():
            dist.all_gather_object(boxes, thing)
        return boxes

    def most(self, flags: list[int]) -> Callable[[], list[int]]:
        numbers = torch.tensor(flags)
        with self.wrapped():
            work = dist.all_reduce(numbers, dist.ReduceOp.MAX, async_op=True)

        def wait() -> list[int]:
            with self.wrapped():
                work.wait()
            return [int(n) for n in numbers]

        return wait

    # How it ends.

    @contextmanager
    def wrapped(self) -> Iterator[None]:
        """An error of a collective says that another rank is gone or silent; gloo's are plain RuntimeErrors."""
        try:
            yield
        except RuntimeError as error:
            raise self.lost(error) from error

    @contextmanager
    def used(self) -> Iterator[None]:
        """The same for what uses it by itself, among whose errors are others."""
        try:
            yield
        except RuntimeError as error:
            if not any(sign in str(error) for sign in OF_WIRES):
                raise
            raise self.lost(error) from error

    def lost(self, error: Exception) -> Lost:
        text = short(error)
        dumped = f"; where this one was: {self.dump()}" if "imed out" in text else ""
        reason = self.reason() or f"another process is gone or silent: {text}"
        return Lost(f"rank {self.rank} of {self.size} ({socket.gethostname()}): {reason}{dumped}")

    def dump(self) -> Path:
        """Write the stacks of all threads: a rank that waits in vain says in what."""
        path = Path(tempfile.gettempdir()) / f"distillkit-rank-{self.rank}-stacks.txt"
        with open(path, "w") as file:
            faulthandler.dump_traceback(file)
        return path

    def fail(self, code: int, text: str) -> None:
        """Say why this rank ends, before it does; the first to say so counts."""
        self.code = code
        text = " ".join(text.split())[:500]
        said = json.dumps({"rank": self.rank, "host": socket.gethostname(), "code": code, "text": text})
        self._ask(lambda: self.store.compare_set(REASON, "", said), AWHILE)

    def reason(self) -> str:
        """What another rank said before it ended; "" where none did."""

        def ask() -> Any:
            self.store.wait([REASON], AWHILE)
            return json.loads(self.store.get(REASON))

        said = self._ask(ask, 2 * AWHILE)
        if said is None or said["rank"] == self.rank:
            return ""
        return f"rank {said['rank']} ({said['host']}) ended: {said['text']}"

    def _ask(self, work: Callable[[], T], wait: timedelta) -> T | None:
        """What the store says; None where it is gone, or its host is stopped or cut off, which torch waits for."""
        found: list[T] = []

        def ask() -> None:
            with suppress(RuntimeError):  # the store went with its host
                found.append(work())

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(wait.total_seconds())
        return found[0] if found else None

    def hurry(self, on: bool) -> None:
        distributed_c10d._set_pg_timeout(timedelta(seconds=self.seconds) if on else PATIENCE)

    def leave(self, well: bool) -> None:
        """End together: the others wait for the first rank, which has a picture to draw or a report to write.

        `well`: no error; else they may not be where this one is, and no collective is tried.
        """
        if self.heart is not None:
            self.heart.stop()
        if well:
            with suppress(RuntimeError):  # the first one is gone
                dist.barrier()
                dist.destroy_process_group()
            return
        if self.rank == 0:
            self._ask(lambda: self.store.set(ENDED, ""), AWHILE)
            return
        # With any other error the first rank may be waiting for this one, and learns of its end by the connection.
        together = self.code in (Diverged.exit_code, Preempted.exit_code)
        wait = timedelta(seconds=self.seconds) if together else AWHILE
        self._ask(lambda: self.store.wait([ENDED], wait), wait)


def attended(work: Callable[[], T]) -> T:
    """What it gives, made in a thread: a signal ends the wait for it, which torch's own code would not notice."""
    found: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]


def short(error: Exception) -> str:
    """The first line of an error of torch's, without the place in its C++ code, and without advice."""
    line = str(error).partition("\n")[0].rpartition("] ")[2]
    return line.partition(". This is typically")[0][:160] or type(error).__name__
