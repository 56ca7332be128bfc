"""The order of data: an endless one, reshuffled every epoch, of which any part costs the same at any size.

A keyed permutation of the index: a Feistel network on pairs (l, r) of a x b numbers, a b >= size, whose halves take
turns in l + F(r) mod a and r + F(l) mod b; what comes out beyond the size is sent through again (cycle walking: Black &
Rogaway, "Ciphers with arbitrary finite domains", 2002). F is an integer hash of the half, the key and the round.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distillkit.noise.counters import fold

Numbers: TypeAlias = NDArray[np.uint64]

ROUNDS = 12
FEW, ROUNDS_OF_FEW = 12, 20  # items of which some orders would come more often than others after 12 rounds
ROUND = 0x9E3779B97F4A7C15  # the golden ratio; the others are of splitmix64 (Steele et al., 2014)
FIRST, SECOND, HALF = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(32)


def shuffled(seed: int, stream: str, first: int, n: int, size: int) -> Tensor:
    """Entries first ... first+n-1 of an endless order over `size` items, reshuffled every epoch -> int64 [n]."""
    if n < 1:
        return torch.empty(0, dtype=torch.int64)
    epoch, index = np.divmod(np.arange(first, first + n, dtype=np.uint64), np.uint64(size))
    epochs = range(int(epoch[0]), int(epoch[-1]) + 1)
    keys = np.array([fold(seed, stream, "epoch", number) for number in epochs], dtype=np.uint64)
    return torch.from_numpy(permuted(index, keys[epoch - epoch[0]], size).astype(np.int64))


def permuted(index: Numbers, keys: Numbers, size: int) -> Numbers:
    """Where each index < size is sent by the permutation of its key, [n]."""
    a, b = sides(size)
    rounds = ROUNDS_OF_FEW if size <= FEW else ROUNDS
    found = feistel(index, keys, a, b, rounds)
    while (beyond := found >= np.uint64(size)).any():
        found[beyond] = feistel(found[beyond], keys[beyond], a, b, rounds)
    return found


def feistel(index: Numbers, keys: Numbers, a: int, b: int, rounds: int) -> Numbers:
    """A permutation of the a b numbers below a b, at [n] of them."""
    left, right = np.divmod(index, np.uint64(b))
    for number in range(rounds):
        z = (right + keys + np.uint64(number * ROUND % 2**64)) * FIRST
        z ^= z >> HALF
        z *= SECOND
        # The high half, times a: a number below a without a division.
        moved = (left + ((z >> HALF) * np.uint64(a) >> HALF)) % np.uint64(a)
        left, right, a, b = right, moved, b, a
    return left * np.uint64(b) + right


@lru_cache(maxsize=256)
def sides(size: int) -> tuple[int, int]:
    """The smallest domain a x b >= size of almost equal sides: little is beyond the size."""
    root = math.isqrt(size - 1) + 1
    widths = range(max(root - 64, (3 * root + 3) // 4), root + 2)
    # One side even: of two odd ones every round is an even permutation, and half of all orders would never come.
    return min(((a, b) for a in widths if (a * (b := -(-size // a))) % 2 == 0), key=math.prod)
