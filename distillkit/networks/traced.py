"""A student as a graph of torch.export."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distillkit.api import UsageError
from distillkit.networks.stored import Widened
from distillkit.seeds import inputs

if TYPE_CHECKING:
    from distillkit.networks.loaded import Student

Generate = Callable[..., Tensor]  # z [N,C,H,W], labels [N,L] where there are any -> x [N,C,H,W]


class Baked(nn.Module):
    """z, labels -> x: the network with its sampler around it."""

    def __init__(self, made: Student) -> None:
        super().__init__()
        self.network, self.student = made.network, made

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.student.sample(z, labels)


def graph(made: Student, scaled: bool = False) -> torch.export.ExportedProgram:
    """Network and sampler as one graph for any number of images; `scaled`: labels end with their guidance scale.

    Raises UsageError where they are none.
    """
    z, labels = inputs([0, 1], None, made)
    labels = made.asking.scaled(labels) if scaled else labels
    given = tuple(tensor for tensor in (z, labels) if tensor is not None)
    n = torch.export.Dim("n", min=1)
    shapes = {name: {0: n} for name, _ in zip(("z", "labels"), given, strict=False)}
    narrow = any(weight.dtype.itemsize < 4 for weight in made.network.parameters())
    module = Widened(Baked(made)) if narrow else Baked(made)
    try:
        program = torch.export.export(module, given, dynamic_shapes=shapes)
    except Exception as error:  # torch has no common class for what it cannot trace
        parts = f"sampler {made.card['sample']['use']!r} with network {made.card['network']['use']!r}"
        reason = str(error).strip().partition("\n")[0][:120]
        raise UsageError(f"{parts} makes no graph ({reason}); --to safetensors can do without one") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


def save(made: Student, path: Path, scaled: bool = False) -> None:
    """Write the graph for torch.export.load."""
    with quiet():
        torch.export.save(graph(made, scaled), path)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' remarks about themselves."""
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
