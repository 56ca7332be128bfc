"""Batches that are decoded before they are asked for, by threads: Pillow and zlib work without the interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

BYTES = 1 << 30  # of batches that nobody came for yet; the oldest are dropped

Decode = Callable[[int], "np.ndarray | None"]  # image of a row as it is stored [H,W,C]; None: not in a thread


class Ahead:
    """Decodes rows of a set; what a thread may not or cannot decode is left to who asks, with its error."""

    def __init__(self, decode: Decode, shape: tuple[int, ...], dtype: torch.dtype, workers: int) -> None:
        """`shape` of an image [C,H,W], `dtype` as it is stored."""
        self._decode, self._shape, self._dtype, self._workers = decode, shape, dtype, workers
        self._begun: dict[bytes, tuple[Tensor, list[Future[list[int]]]]] = {}
        self._pool, self._process = ThreadPoolExecutor(workers, "distillkit-data"), os.getpid()

    def begin(self, rows: Tensor) -> None:
        """Start to decode rows int64 [n]."""
        if self._process != os.getpid():  # threads do not come along into a forked process
            self._pool, self._process = ThreadPoolExecutor(self._workers, "distillkit-data"), os.getpid()
            self._begun.clear()
        key = rows.numpy().tobytes()
        if key in self._begun or not len(rows):
            return
        x = torch.empty(len(rows), *self._shape, dtype=self._dtype)
        while self._begun and x.nbytes * (len(self._begun) + 1) > BYTES:
            self._drop(next(iter(self._begun)))
        places = torch.arange(len(rows)).chunk(self._workers)
        work = [(x.numpy(), list(zip(part.tolist(), rows[part].tolist(), strict=True))) for part in places]
        self._begun[key] = x, [self._pool.submit(self._fill, *one) for one in work]

    def take(self, rows: Tensor) -> tuple[Tensor, list[int]] | None:
        """Images [n,C,H,W] of rows that were begun, and which of the n are still to be decoded; None: never begun."""
        begun = self._begun.pop(rows.numpy().tobytes(), None) if self._process == os.getpid() else None
        if begun is None:
            return None
        x, parts = begun
        return x, [place for part in parts for place in part.result()]

    def _fill(self, x: np.ndarray, work: list[tuple[int, int]]) -> list[int]:
        """Decode each row to its place in x [n,C,H,W] -> the places that are left."""
        left = []
        for place, row in work:
            pixels = self._decode(row)
            if pixels is None or pixels.dtype != x.dtype or pixels.transpose(2, 0, 1).shape != x.shape[1:]:
                left.append(place)
            else:
                x[place] = pixels.transpose(2, 0, 1)
        return left

    def _drop(self, key: bytes) -> None:
        for part in self._begun.pop(key)[1]:
            part.cancel()
