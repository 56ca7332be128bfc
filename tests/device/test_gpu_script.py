"""The script for a few minutes with a GPU, on the pretended one: that its checks are asked, and pass here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from pretended.notes import noted

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu_checks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_checks", BENCHMARKS / "gpu_checks.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What waited while torch was told to refuse it, which the pretended device does not do by itself."""
    found: list[str] = []
    watch = None

    def mode(wanted: str) -> None:
        nonlocal watch
        if wanted == "error":
            watch = noted()
            kept.append(watch.__enter__())
        elif watch is not None:
            watch.__exit__(None, None, None)
            found.extend(f"{note.operation} in {note.place}" for note in kept[-1] if note.kind == "wait")

    kept: list[list] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", mode)
    yield found
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


def test_every_check_passes_on_the_pretended_device(gpu_checks: ModuleType, waited: list[str]) -> None:
    found = list(gpu_checks.checks("cuda"))
    assert len(found) >= 14 and [check for check in found if not check.passed] == []
    assert waited == []


def test_a_check_finds_other_numbers(gpu_checks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    made = gpu_checks.state_of
    monkeypatch.setattr(gpu_checks, "state_of", lambda host, place: made(host, place, seed=len(place)))
    passed, told = gpu_checks.as_on_the_cpu("SiD", "cuda")
    assert not passed and "apart" in told
