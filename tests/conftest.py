"""States of tiny runs: real components by default, toy ones where a test gives them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from distillkit.api import Choice, Turn
from distillkit.api.slots import SLOTS
from distillkit.recipe import read
from distillkit.registry import Catalog
from distillkit.testing import tiny_recipe
from distillkit.train import turns
from distillkit.train.build import build
from distillkit.train.state import State

TINY = tiny_recipe(
    "sid", run={"kimg": 0.16}, teacher_score={"use": "gaussian-mixture"}, evaluate=None,
    generator={"ema": "power", "optimizer": {"lr": 1e-2}},
    generator_loss={"noise": "lognormal", "alpha": 1.0, "lr": 1e-2},
)  # fmt: skip
EMBEDDING = """
[[auxiliary_loss]]
use = "embedding"
weight = "auto"
real_batch = 32
[[auxiliary_loss.embeddings]]
use = "pixels"
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """A recipe file: SiD on eight Gaussians, 10 iterations of 16 points, and what is put behind it."""

    def write(more: str = "", name: str = "tiny.toml") -> Path:
        path = tmp_path / name
        path.write_text(TINY + more)
        return path

    return write


@pytest.fixture
def make_state(tiny: Callable[..., Path]) -> Callable[..., State]:
    """`make(*sets, more="", **tables)` -> a State; `tables` take the place of what the recipe says."""

    def make(*sets: str, more: str = "", **tables: Any) -> State:
        recipe = attrs.evolve(read(tiny(more), sets), **tables)
        state = build(recipe, Catalog.installed())
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():  # the mlp's last layer starts at zero: nothing would reach the layers before
            for network in state.networks.values():
                for p in network.parameters():
                    p.copy_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        return state

    return make


@pytest.fixture
def toy() -> Callable[..., Choice]:
    """`toy(Class, slot keys ...)` -> a Choice of a component that is not installed."""

    def choose(cls: type, **slot: Any) -> Choice:
        return Choice(cls.kind, cls.__name__.lower(), cls, cls.Config(), SLOTS[cls.kind](**slot))

    return choose


@pytest.fixture
def gradients() -> Callable[[State, Turn], dict[str, list[Tensor | None]]]:
    """Gradients by network that a turn brings to its optimizers, which do not step."""

    def take(state: State, turn: Turn) -> dict[str, list[Tensor | None]]:
        found: dict[str, list[Tensor | None]] = {}

        def keep(name: str) -> Callable[..., None]:
            return lambda nimg, total, skipped: found.update({name: [p.grad for p in state.updaters[name].params]})

        for name, updater in state.updaters.items():
            updater.step = keep(name)
        try:
            turns.take(state, turn)
        finally:
            for updater in state.updaters.values():
                del updater.step
        return found

    return take


@pytest.fixture
def embedding() -> str:
    """The Embedding Loss on plain pixels, as it is written in a recipe."""
    return EMBEDDING


def outcome(run: Path) -> dict[str, Any]:
    """All that a finished run computed: bytes of the student and of the last checkpoint, counters, rows of metrics."""
    last = sorted((run / "checkpoints").glob("kimg-*"))[-1]
    found: dict[str, Any] = {path.name: path.read_bytes() for path in last.glob("*.safetensors")}
    found["student"] = (run / "result" / "student.safetensors").read_bytes()
    meta = json.loads((last / "state.json").read_text())
    found["meta"] = {**meta, "seconds": 0, "tick_from": meta["tick_from"][0]}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds": 0, "img_per_sec": 0, "check": ""}
    return found | {"rows": [{key: clock.get(key, value) for key, value in row.items()} for row in rows]}


@pytest.fixture
def same_runs() -> Callable[[Path, Path], None]:
    """Asserts that two finished runs computed the same, bit for bit: everything but the time it took."""

    def check(one: Path, other: Path) -> None:
        ours, theirs = outcome(one), outcome(other)
        assert {"networks.safetensors", "ema.safetensors", "optimizers.safetensors"} <= ours.keys() == theirs.keys()
        assert [name for name in ours if ours[name] != theirs[name]] == []
        assert (one / "exit.json").read_text() == (other / "exit.json").read_text()

    return check
