"""benchmarks/methods.py and methods_page.py: which runs count, at a budget and at their end."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def methods() -> ModuleType:
    return script("methods_page")


def measured(kimg: float, fd: float, sfd: float = 0.2) -> dict[str, Any]:
    return {"kimg": kimg, **dict.fromkeys(("recall", "coverage"), 0.5), "fd": fd, "sfd": sfd}


def row(label: str, speed: float, *ways: list[dict[str, Any]], steps: dict[str, Any] | None = None) -> dict[str, Any]:
    seeds = {
        str(seed): {
            "way": way,
            "end": way[-1],
            "steps": steps or {},
            "teacher": {"fd": 0.15 + 0.02 * seed, "sfd": 0.15},
        }
        for seed, way in enumerate(ways)
    }
    return {
        "label": label,
        "seeds": seeds,
        "missing": {},
        "cost": {"F": 9.0, "MB": 65.2, "images/s": speed, "lines": 120},
    }


def test_a_run_counts_by_its_last_evaluation_within_the_budget(methods: ModuleType) -> None:
    one = row(
        "digits_one", 300.0,
        [measured(8.0, 0.9), measured(16.0, 0.5), measured(24.0, 0.1)],
        [measured(8.0, 0.8), measured(16.0, 0.7), measured(24.0, 0.3)],
    )  # fmt: skip
    late = row("digits_late", 500.0, [measured(64.0, 0.2)], steps={"2": {"fd": 0.11}, "4": {"fd": 0.1}})
    end, _, images, seconds, steps, costs = methods.page([one, late]).split("## ")[1:]
    assert "| digits_one | 16 | 0.600 +- 0.141 | 0.200 |" in images and "by then: digits_late" in images
    assert "| digits_one | 16 | 0.600 +- 0.141 |" in seconds  # 60 s are 18 thousand images
    assert "| digits_one | 2 | yes | 24 | 0.200 +- 0.141 |" in end and "| digits_late | 1 | yes | 64 | 0.200 |" in end
    assert "| digits_late | 4 | 0.100 |" in steps and "digits_one" not in steps
    assert "| digits_one | 9.00 | 65 | 300 | 80 | 120 |" in costs
    assert "| teacher, 35 calls | 2 |  | - | 0.160 +- 0.014 | 0.150 |" in end


def test_the_loss_is_told_beside_the_method_by_the_seeds_that_both_have(methods: ModuleType) -> None:
    one = row("digits_one", 300.0, [measured(8.0, 0.5, 0.4)], [measured(8.0, 0.3, 0.3)], [measured(8.0, 0.9)])
    with_ = row("digits_one_el", 300.0, [measured(8.0, 0.4, 0.1)], [measured(8.0, 0.4, 0.2)])
    alone = row("digits_two", 300.0, [measured(8.0, 0.5)])
    told = methods.page([one, with_, alone]).split("## ")[2]
    assert told.startswith("With the Embedding Loss") and "digits_two" not in told
    assert "| digits_one | 2 | 0.400 +- 0.141 | 0.400 | +0.000 +- 0.141 | 0.350 +- 0.071 | 0.150 +- 0.071 |" in told
    assert "| -0.200 +- 0.141 |" in told


def test_what_did_not_finish_is_named(methods: ModuleType) -> None:
    some = {**row("digits_one", 300.0, [measured(8.0, 0.3)]), "missing": {"1": "diverged"}}
    none = {**row("digits_two", 300.0), "missing": {"0": "failed", "1": "left out"}, "cost": {}}
    end, *others = methods.page([some, none]).split("## ")[1:]
    assert "diverged: digits_one 1; failed: digits_two 0; left out: digits_two 1." in end
    assert "| digits_one | 1 |" in end and "digits_two" not in "".join(others)
    assert "Not finished" not in methods.page([row("digits_one", 300.0, [measured(8.0, 0.3)])])


def test_a_method_is_held_against_its_own_teacher(methods: ModuleType) -> None:
    mine, other = row("digits_one", 300.0, [measured(8.0, 0.5)]), row("digits_two", 300.0, [measured(8.0, 0.2)])
    mine["seeds"]["0"]["teacher"] = {"fd": 0.4, "sfd": 0.4}
    assert "| digits_one | 1 | yes |" in methods.page([mine, other])


@pytest.mark.parametrize(
    ("label", "fd", "sfd", "told"),
    [
        ("digits_one", 0.29, 0.26, "yes"), ("digits_one", 0.31, 0.26, "no"), ("digits_one", 0.29, 0.28, "no"),
        ("digits_ict_el", 0.59, 0.59, "yes"), ("digits_ict_el", 0.59, 0.61, "no"),
    ],
)  # fmt: skip
def test_a_method_is_within_by_its_teacher_or_four_times_that(
    methods: ModuleType, label: str, fd: float, sfd: float, told: str
) -> None:
    assert f"| {label} | 1 | {told} |" in methods.page([row(label, 100.0, [measured(8.0, fd, sfd)])])


def test_finished_runs_count_and_none_of_another_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    reader = script("methods")
    monkeypatch.setattr(reader, "finished", lambda one, runs: {"fingerprint": one["fingerprint"], "from": one["run"]})
    monkeypatch.setattr(reader, "costs", lambda recipe, runs: {"F": 2.0})
    same, other = {"fingerprint": "a", "from": "before"}, {"fingerprint": "x", "from": "before"}
    ends = [("waiting", "a"), ("waiting", "b"), ("reused", "c"), ("failed", "d"), ("collapsed", "e")]
    runs = [{"seed": seed, "state": state, "fingerprint": found} for seed, (state, found) in enumerate(ends)]
    for run in runs[2:]:
        run["run"] = f"{run['seed']:04d}-one"
    cell = {"label": "one", "recipe": "one.toml", "runs": runs}
    found = reader.read_cell(cell, Path("runs"), {"seeds": {"0": same, "1": other}, "cost": {"F": 1.0}})
    assert found["seeds"] == {"0": same, "2": {"fingerprint": "c", "from": "0002-one"}}
    assert found["missing"] == {"1": "waiting", "3": "failed", "4": "collapsed"} and found["cost"] == {"F": 2.0}
    assert reader.read_cell(cell, Path("runs"), {"seeds": {"0": same}, "cost": {"F": 1.0}})["cost"] == {"F": 1.0}
