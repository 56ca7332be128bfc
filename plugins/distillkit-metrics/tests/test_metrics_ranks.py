"""Metrics of several processes: the numbers of one, from features that each makes of its own images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit.evaluate import draw, serve, share
from distillkit.evaluate.draw import Drawer
from distillkit.testing import toy_state
from distillkit.testing.ranks import simulated
from distillkit.train.ranks.group import Group
from distillkit.train.state import State

INCEPTION = {"use": "inception", "network": "inception.pt"}
CLASSIFIER = {"use": "digits-classifier", "iterations": 10}
TABLES = [
    {"use": "frechet", "images": 50, "seeds": 2, "features": CLASSIFIER},
    {"use": "frechet", "images": 50, "sampler": {"use": "heun", "steps": 3}, "features": CLASSIFIER},
    {"use": "fid", "images": 70, "batch": 8, "features": INCEPTION},
    {"use": "fid", "images": 70, "batch": 8, "labels": "random", "features": INCEPTION},
    {"use": "precision-recall", "images": 40, "features": INCEPTION},
    {"use": "inception-score", "images": 40, "splits": 3, "features": INCEPTION},
    {"use": "rel-fid", "images": 30, "sampler": {"use": "heun", "steps": 3}, "features": CLASSIFIER},
]


@pytest.fixture(autouse=True)
def small(inception: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of a few images."""
    inception()
    for module in (draw, share):
        monkeypatch.setattr(module, "CHUNK", 8)
    monkeypatch.setattr(draw, "ROUND", 8)


def made(ranks: Group | None, table: dict[str, Any]) -> State:
    state = toy_state(
        ranks, run={"precision": "fp64"}, dataset={"use": "toy", "channels": 3, "size": 60}, evaluate=[table]
    )  # fmt: skip
    state.nimg = 1  # in the middle of a run
    return state


def measured(state: State) -> tuple[dict[str, float], Any]:
    draw = Drawer.student(state)
    (found,) = state.evaluators[0].call(state=state, draw=draw)
    return found, draw.drawn


@pytest.mark.parametrize("table", TABLES, ids=lambda table: "-".join(map(str, table.values()))[:30])
def test_numbers_and_kept_images_are_those_of_one_process(
    table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, kept = measured(made(None, table))
    brought: list[Tensor] = []
    monkeypatch.setattr("distillkit.train.ranks.assemble.bring", spied(brought))
    for size in (2, 3):
        brought.clear()

        def rank(ranks: Group) -> Any:
            state = made(ranks, table)
            if not ranks.first:
                return ranks.listen(serve.words(state))
            with ranks.leading():
                return measured(state)

        found, shown = simulated(size, rank)[0]
        assert found == pytest.approx(alone, rel=1e-6, abs=1e-12)
        assert (shown is None) == (kept is None)
        if kept is not None:
            torch.testing.assert_close(shown.x, kept.x)
        assert any(len(rows) for rows in brought)


def spied(brought: list[Tensor]) -> Callable[..., Tensor]:
    from distillkit.train.ranks.assemble import bring

    def see(wire: Any, *given: Any) -> Tensor:
        rows = bring(wire, *given)
        if wire.rank == 0:
            brought.append(rows)
        return rows

    return see


def test_images_beyond_those_to_look_at_do_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "KEPT", 10)
    brought: list[Tensor] = []
    monkeypatch.setattr("distillkit.train.ranks.assemble.bring", spied(brought))

    def rank(ranks: Group) -> Any:
        state = made(ranks, TABLES[2])
        if not ranks.first:
            return ranks.listen(serve.words(state))
        with ranks.leading():
            return measured(state)

    simulated(2, rank)
    assert sum(len(rows) for rows in brought if rows.ndim == 4) == 10
    assert sum(len(rows) for rows in brought if rows.ndim == 2 and rows.shape[1] == 4) == 70
