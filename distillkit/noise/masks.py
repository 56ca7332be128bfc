"""Dropout by number: a mask is a function of (seed, image, which call, element), however a batch is cut up.

No generator is asked: the numbers are an integer hash in tensor operations, so torch.compile, CUDA graphs, recomputed
activations and derivatives of any kind take them, on any device and in any dtype the same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType

import torch
import torch.nn.functional as F
from torch import Tensor

# Odd, with bits all over: the golden ratio and the factors of splitmix64 (Steele et al., 2014), in 64 bits.
ROW, FIRST, SECOND = 0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
CALL, REPEAT = 0x2545F4914F6D, 0x4F1BBCDCBFA53  # small enough for a 64-bit scalar times thousands
ELEMENT, MIX = 0x9E3779B1 - 2**32, 0x7FEB352D  # the golden ratio, and lowbias32's first factor (C. Wellons, 2018)


OTHER = 0x5851F42D4C957F2D  # of rows that are no images of the batch


class Masks:
    """The rows that `dropout` is asked for, and how often it was."""

    def __init__(self, seed: int, seeds: Tensor, calls: int = 0) -> None:
        """`seed`: of the pass; `seeds`: int64 [n], one per row."""
        self.seed, self.seeds, self.calls = seed, seeds, calls

    def seeds_of(self, n: int) -> Tensor:
        """int64 [n] for the next call on a batch of n rows; beyond ours they begin again, as other blocks."""
        shift = self.calls * CALL
        self.calls += 1
        have = len(self.seeds)
        if n == have:
            return self.seeds + shift
        blocks = [self.seeds + (shift + block * REPEAT) for block in range(-(-n // have))]
        return torch.cat(blocks)[:n]


class Here(threading.local):
    """What masks are made for in this thread: simulated ranks are threads."""

    masks: Masks | None = None


here = Here()


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """x [N, ...] with elements zeroed with probability p in training, the others over 1 - p.

    While a run takes a turn, the mask of a row is a function of (seed, image, turn, which call of this pass), whatever
    the micro-batch is; k N' rows for N' images are k blocks. Elsewhere this is torch's dropout. Raises ValueError.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"a probability of dropout is in [0,1], not {p}")
    if not training or p == 0 or x.numel() == 0:
        return x
    now = here.masks
    if now is None or p == 1:
        return F.dropout(x, p, training)
    keep = kept(now.seeds_of(len(x)).to(x.device), x.numel() // len(x), p).view(x.shape)
    if x.dtype.itemsize < 4:  # 1 / (1 - p) is no number of such a dtype: the mean would move
        return x * keep.to(x.dtype) / (1 - p)
    return x * keep.to(x.dtype).mul_(1 / (1 - p))


def kept(seeds: Tensor, elements: int, p: float) -> Tensor:
    """int32 [n,elements] of rows of int64 seeds [n]: 1 with probability 1 - p, else 0."""
    # Two 32-bit numbers per row: one meets the number of the element, one is the odd factor of the second round.
    mixed = seeds * SECOND
    offset, factor = mixed.int()[:, None], (mixed >> 32).int()[:, None] | 1
    h = (torch.arange(elements, device=seeds.device, dtype=torch.int32) * ELEMENT) ^ offset
    # In place, and 0 or 1 without a bool: comparisons into bool and conversions from it are slow on CPUs.
    h *= MIX
    h ^= (h >> 15).bitwise_and_(0x1FFFF)  # a logical shift
    h *= factor
    return h.ge_(min(round(p * 2**32), 2**32 - 1) - 2**31)  # the high bits decide, which depend on all


def row_seeds(seed: int, first: int, n: int, device: torch.device | str) -> Tensor:
    """int64 [n] of rows first ... first+n-1; all bits depend on seed and row (splitmix64)."""
    z = torch.arange(first, first + n, device=device) * ROW + seed
    z = (z ^ (z >> 30) & (2**34 - 1)) * FIRST
    z = (z ^ (z >> 27) & (2**37 - 1)) * SECOND
    return z ^ (z >> 31) & (2**33 - 1)


def in_a_pass() -> bool:
    """Whether this thread is in a pass of a turn: its masks are by number."""
    return here.masks is not None


@contextmanager
def masks(seed: int, first: int, n: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, `dropout` in this thread draws the masks of rows first ... first+n-1 of `seed`, call by call."""
    before, here.masks = here.masks, Masks(seed, row_seeds(seed, first, n, device))
    try:
        yield
    finally:
        here.masks = before


@contextmanager
def masks_from_here() -> Iterator[None]:
    """Inside, the same masks as without, and their calls are counted from 0.

    For what is compiled, which knows the number of its first call: it would be another program at each place of a pass.
    """
    now = here.masks
    if now is None:
        yield
        return
    here.masks = inside = Masks(now.seed, now.seeds + now.calls * CALL)
    try:
        yield
    finally:
        here.masks, now.calls = now, now.calls + inside.calls


@contextmanager
def masks_of(first: int, n: int) -> Iterator[None]:
    """Inside, the rows of this pass are rows first ... first+n-1 of other work than the batch: a share of stored pairs.

    A share has the masks that its rows have in the whole. Outside a pass it does nothing.
    """
    now = here.masks
    if now is None:
        yield
        return
    other = now.seed ^ OTHER  # these rows are not the batch's of the same numbers
    here.masks = inside = Masks(other, row_seeds(other, first, n, now.seeds.device), now.calls)
    try:
        yield
    finally:
        here.masks, now.calls = now, inside.calls


@contextmanager
def masks_kept(device: torch.device | str = "cpu") -> Iterator[None]:
    """What is dropped inside is dropped once more by what comes after it: two networks under the same masks.

    torch's own generators of the CPU and of `device` are put back too.
    """
    now = here.masks
    calls = now.calls if now else 0
    device = torch.device(device)
    kind = device.type if device.type in ("cuda", "xpu") else None
    with torch.random.fork_rng(devices=[device] if kind else [], device_type=kind or "cuda"):
        try:
            yield
        finally:
            if now:
                now.calls = calls


def masks_again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """`context_fn` of torch.utils.checkpoint.checkpoint: what is computed again drops what it dropped at first."""
    return nullcontext(), Again(here.masks)


class Again:
    """Inside, in whatever thread, the masks of the call after which this was made."""

    def __init__(self, now: Masks | None) -> None:
        self.now, self.calls = now, now.calls if now else 0
        self.before: list[Masks | None] = []

    def __enter__(self) -> None:
        self.before.append(here.masks)
        here.masks = Masks(self.now.seed, self.now.seeds, self.calls) if self.now else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        here.masks = self.before.pop()
