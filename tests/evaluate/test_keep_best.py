"""`[run] keep_best`: the result is the best average, found again after a resume; turns that begin later."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distillkit.api import Turn, UsageError, hookimpl
from distillkit.builtin import mixture
from distillkit.cli.main import main
from distillkit.run import loop
from distillkit.train.iterate import due
from distillkit.train.state import State

VALUES = {32: 3.0, 64: 1.0, 96: float("nan"), 128: 2.0, 160: 1.5}  # of the metric, by images seen
EVALUATE = """
[[evaluate]]
use = "mixture"
every_kimg = 0.032
"""
SETS = ("--set", "run.checkpoint_kimg=0.048", "--set", 'run.keep_best="mixture/made_up"')


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metric `mixture/made_up` is VALUES of the images seen."""

    @hookimpl
    def evaluate(self, state: State, draw: Callable) -> dict[str, float]:
        value = VALUES[state.nimg]
        return {"made_up": value, "turned_up": -value, "sum": float(draw(4).x.sum())}

    monkeypatch.setattr(mixture.MixtureMetrics, "evaluate", evaluate)
    monkeypatch.setattr(mixture.MixtureMetrics, "better", {"made_up": "lower", "turned_*": "higher", "sum": "none"})


def result(folder: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    run = next(folder.glob("0001-*"))
    return json.loads((run / "result/metrics.json").read_text()), load_file(run / "result/student.safetensors")


def ema_at(folder: Path, name: str) -> dict[str, torch.Tensor]:
    found = load_file(next(folder.glob("0001-*")) / "checkpoints" / name / "ema.safetensors")
    return {key.removeprefix("ema/generator/"): value for key, value in found.items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("metric", ["made_up", "turned_up"])
def test_the_result_is_the_average_of_the_best_metric(
    tiny: Callable, tmp_path: Path, scripted: None, metric: str
) -> None:
    sets = ("--set", "run.checkpoint_kimg=0.048", "--set", f'run.keep_best="mixture/{metric}"')
    assert main(["run", str(tiny(EVALUATE)), "--runs", str(tmp_path / "runs"), *sets]) == 0
    facts, weights = result(tmp_path / "runs")
    assert same(weights, ema_at(tmp_path / "runs", "kimg-000000.064"))
    assert not same(weights, ema_at(tmp_path / "runs", "kimg-000000.160"))
    assert (facts["nimg"], facts["last"]["mixture/made_up"]) == (64, 1.5)
    assert facts["metrics"]["mixture/sum"] != facts["last"]["mixture/sum"]
    assert facts["better"] == {"mixture/made_up": "lower", "mixture/turned_up": "higher", "mixture/sum": "none"}


def test_a_stopped_run_keeps_the_same(
    tiny: Callable, tmp_path: Path, scripted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = str(tiny(EVALUATE))
    assert main(["run", recipe, "--runs", str(tmp_path / "whole"), *SETS]) == 0
    take = loop.iterate

    def killed(state: State) -> None:
        if state.nimg == 112:
            raise RuntimeError("killed here")
        take(state)

    monkeypatch.setattr(loop, "iterate", killed)
    assert main(["run", recipe, "--runs", str(tmp_path / "parts"), *SETS]) == 1
    monkeypatch.setattr(loop, "iterate", take)
    assert main(["run", recipe, "--runs", str(tmp_path / "parts"), *SETS]) == 0
    (whole, weights), (parts, same_weights) = result(tmp_path / "whole"), result(tmp_path / "parts")
    assert same(weights, same_weights)
    assert {**whole, "seconds": 0} == {**parts, "seconds": 0}


@pytest.mark.parametrize(("metric", "told"), [
    ("frechet/fd", "no [[evaluate]] with every_kimg gives it"), ("mixture.1/made_up", "gives it"),
    ("mixture/nothing", "does not say which way that is better"), ("mixture/sum", "neither good nor bad"),
])  # fmt: skip
def test_a_metric_without_a_direction_or_that_nobody_measures_is_refused_before_anything_is_built(
    tiny: Callable, metric: str, told: str, scripted: None, capsys: pytest.CaptureFixture
) -> None:
    late = EVALUATE.replace("every_kimg = 0.032", "")  # the second: at the end only
    assert main(["check", str(tiny(EVALUATE + late)), "--set", f'run.keep_best="{metric}"']) == UsageError.exit_code
    shown = capsys.readouterr().err
    assert metric in shown and told in shown


def test_a_metric_that_was_told_but_not_measured_is_named(
    tiny: Callable, tmp_path: Path, scripted: None, capsys: pytest.CaptureFixture
) -> None:
    sets = ("--set", 'run.keep_best="mixture/turned_down"')
    assert main(["run", str(tiny(EVALUATE)), "--runs", str(tmp_path / "runs"), *sets]) == UsageError.exit_code
    assert "is not measured; there are mixture/made_up" in capsys.readouterr().err


def test_a_turn_may_begin_later() -> None:
    turn = Turn(name="r1", trains=("d",), every=4, first=4)

    class Counter:
        nimg = 0

    taken = []
    for Counter.iteration in range(10):
        if due(Counter, turn):
            taken.append(Counter.iteration)
    assert taken == [4, 8]
