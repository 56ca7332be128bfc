"""benchmarks/methods.py: what it says of runs at a budget of images and of seconds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "methods.py"


@pytest.fixture(scope="module")
def methods() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_methods", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(kimg: float, seconds: float, fd: float) -> dict[str, Any]:
    return {"kimg": kimg, "seconds": seconds, **dict.fromkeys(("sfd", "recall", "coverage"), 0.5), "fd": fd}


def test_a_run_counts_by_its_last_evaluation_within_the_budget(methods: ModuleType) -> None:
    runs = [
        [measured(8.0, 20, 0.9), measured(16.0, 40, 0.5), measured(24.0, 70, 0.1)],
        [measured(8.0, 30, 0.8), measured(16.0, 65, 0.7), measured(24.0, 90, 0.3)],
    ]
    late = methods.Row("digits_late", [[measured(64.0, 99, 0.2)]], {"F": 4.0, "MB": 20.0}, 90)
    row = methods.Row("digits_one", runs, {"F": 9.0, "MB": 65.0}, 120)
    teacher = {name: [0.15, 0.15] for name in methods.SHOWN}
    text = methods.page([row, late], teacher, [0, 1])
    images, seconds, end, costs = text.split("## ")[1:]
    assert "| digits_one | 16 | 0.600 +- 0.141 | 0.500 |" in images and "by then: digits_late" in images
    assert "| digits_one | 12 +- 5.66 | 0.650 +- 0.212 |" in seconds
    assert "| digits_one | 24 | 0.200 +- 0.141 |" in end and "| digits_late | 64 | 0.200 |" in end
    assert "| digits_one | 9.00 | 65 | " in costs and "teacher, 35 calls | - | 0.150 |" in images
