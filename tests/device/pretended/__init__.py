"""A GPU that is not there: tensors that say `cuda:0`, are computed on the CPU, and obey a GPU's rules.

A plugin of pytest, `-p pretended`: it must come before torch. Not pretended: time (reading too early), limits of
memory, the numbers and the nondeterminism of a GPU's libraries, NCCL, CUDA graphs, streams.
"""

from __future__ import annotations

from pretended.library import load

load()

from pretended.switches import on  # noqa: E402 # torch asks for its hooks once, and remembers

on()
