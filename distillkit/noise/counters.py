"""Random numbers by number: row i of a stream is a function of (seed, stream, i), however it is asked for."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

BLOCK = 16  # rows of noise that share one generator seed


def fold(*parts: int | str) -> int:
    """A 63-bit seed from any mix of numbers and names."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def rows(
    kind: str, seed: int, stream: str, first: int, n: int, shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> Tensor:
    """Rows first ... first+n-1 of an endless stream of "randn" or "rand" rows -> [n, *shape] float32.

    Row i is a function of (seed, stream, i) alone, so neither micro-batches nor ranks nor a resume change it.
    """
    if torch.device(device).type == "meta":  # shapes alone
        return torch.empty(n, *shape, device=device)
    draw = {"randn": torch.randn, "rand": torch.rand}[kind]
    start = first // BLOCK
    stop = math.ceil((first + n) / BLOCK)
    generator = torch.Generator(device)
    blocks = []
    for block in range(start, stop):
        generator.manual_seed(fold(seed, stream, kind, block))
        blocks.append(draw((BLOCK, *shape), generator=generator, device=device))
    table = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
    return table[first - start * BLOCK :][:n]
