"""The final metrics are those measured at the end: also where one is not a number, and after a resume at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit.api import hookimpl
from distillkit.builtin import mixture
from distillkit.cli.main import main
from distillkit.run import stage
from distillkit.train.state import State

EVALUATE = """
[[evaluate]]
use = "mixture"
images = 64
"""


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_is_shown_and_kept_and_ends_nothing(
    number: float, tiny: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    @hookimpl
    def evaluate(self: object, state: State, draw: Callable) -> dict[str, float]:
        return {"sw2": number, "sw2_sd": number}

    monkeypatch.setattr(mixture.MixtureMetrics, "evaluate", evaluate)
    recipe, runs, word = str(tiny(EVALUATE)), str(tmp_path / "runs"), str(number)
    assert main(["run", recipe, "--runs", runs, "--set", "run.kimg=0.032"]) == 0
    (run,) = (tmp_path / "runs").glob("0001-*")
    assert f"{word} \N{PLUS-MINUS SIGN} {word}" in capsys.readouterr().out
    assert f"{word} <small>&plusmn; {word}" in (run / "report.html").read_text()
    assert json.loads((run / "result/metrics.json").read_text())["metrics"] == {
        "mixture/sw2": word, "mixture/sw2_sd": word
    }  # fmt: skip
    seeds = ["run", recipe, "--runs", runs, "--set", "run.kimg=0.032", "--seeds", "0,1"]
    assert main(seeds) == 0 and "reused" in capsys.readouterr().out
    assert main(["compare", *map(str, (tmp_path / "runs").glob("0*")), "--out", str(tmp_path / "page.html")]) == 0
    assert word in capsys.readouterr().out


def test_a_run_killed_before_its_result_measures_the_end_again_and_logs_it_once(
    tiny: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(runs: str) -> tuple[dict, list[str]]:
        (run,) = (tmp_path / runs).glob("0001-*")
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        facts = json.loads((run / "result/metrics.json").read_text())
        return {**facts, "seconds": 0}, [row["what"] for row in rows if row["nimg"] == 32]

    def killed(*_: object) -> None:
        raise RuntimeError("killed here")

    recipe, more = str(tiny(EVALUATE)), ("--set", "run.kimg=0.032")
    assert main(["run", recipe, "--runs", str(tmp_path / "whole"), *more]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(stage, "finish", killed)
        assert main(["run", recipe, "--runs", str(tmp_path / "parts"), *more]) == 1
    assert main(["run", recipe, "--runs", str(tmp_path / "parts"), *more]) == 0
    assert found("parts") == found("whole")
    assert found("whole")[1] == ["tick", "evaluate"]
