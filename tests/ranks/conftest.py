"""Toy runs by the real command, whose processes are gone after the test."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def jobs() -> ModuleType:
    """jobs.py, which the script failures.py imports too."""
    spec = importlib.util.spec_from_file_location("ranks_jobs", Path(__file__).with_name("jobs.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def start(jobs: ModuleType) -> Iterator[Callable[..., Any]]:
    """`start(recipe, runs, *arguments)` -> a Job."""
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc to find a process by its rank")
    made: list[Any] = []

    def begin(*arguments: Any, **more: Any) -> Any:
        made.append(jobs.Job(*arguments, **more))
        return made[-1]

    yield begin
    for job in made:
        job.close()
