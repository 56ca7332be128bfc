"""The table of costs in benchmarks/README.md: what it says is counted here, and nothing exceeds the least by 2 %."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def flops() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_flops", BENCHMARKS / "flops.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(flops: ModuleType) -> list:
    return [flops.measure(method) for method in flops.METHODS]


def test_no_method_costs_two_percent_more_than_its_algorithm_needs(rows: list) -> None:
    above = {row.name: row.counted / row.minimum for row in rows if not 0.98 <= row.counted / row.minimum <= 1.02}
    assert not above


def test_the_parts_weigh_enough_to_be_seen(rows: list) -> None:
    least = {row.name: row.minimum for row in rows}
    assert least["SiDA"] > 1.03 * 11 and least["DMD2, 5 iterations"] > 1.1 * 24
    assert least["GDD-I, without R1"] < 0.9 * least["GDD, without R1"]


def test_the_table_in_the_readme_is_the_counted_one(flops: ModuleType, rows: list) -> None:
    """Made by: python benchmarks/flops.py."""
    assert flops.table(rows) in (BENCHMARKS / "README.md").read_text()
