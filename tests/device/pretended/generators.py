"""Generators of the pretended device: numbers of their own, which no CPU generator of the same seed gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

Real = torch.Generator
SALT = 0x5DEECE66D
known: dict[int, Real] = {}  # in an operation generators have no Python type; kept, so that no address comes twice


class Cuda(Real):
    """A generator of the device."""

    def __new__(cls, device: Any = None) -> Cuda:
        made = super().__new__(cls, "cpu")
        known[made._cdata] = made
        return made

    def __init__(self, device: Any = None) -> None:
        pass

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", 0)

    def manual_seed(self, seed: int) -> Cuda:
        super().manual_seed((int(seed) ^ SALT) & (2**63 - 1))
        return self


class Either(type(Real)):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Real)


class Generator(metaclass=Either):
    """torch.Generator of either device."""

    def __new__(cls, device: Any = "cpu") -> Real:
        return Cuda() if torch.device(device).type == "cuda" else Real(device)


default = Cuda().manual_seed(0)


def is_here(generator: Real) -> bool:
    return generator._cdata in known


@contextmanager
def default_here() -> Iterator[None]:
    """Inside, the CPU's default generator gives the numbers of the device's."""
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(default.get_state())
    try:
        yield
    finally:
        default.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)
