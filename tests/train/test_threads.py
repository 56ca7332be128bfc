"""The number of CPU threads: probed, with a bias for one, which cannot fight with itself."""

from __future__ import annotations

import pytest
import torch

from distillkit.train import threads


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def probed(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]) -> list[int]:
    """Fake the probe by the current thread count -> the counts it was asked at."""
    asked: list[int] = []

    def probe(most: float) -> float:
        asked.append(torch.get_num_threads())
        return seconds[asked[-1]]

    monkeypatch.setattr(threads, "probe", probe)
    return asked


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 1.0, 2: 0.6, 4: 0.4}, 4),
        ({1: 1.0, 2: 0.9, 4: 0.95}, 1),  # not clearly faster
        ({1: 1.0, 2: 1.4, 4: 2.0}, 1),
    ],
)
def test_the_clearly_fastest_count_is_taken_and_set(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], best: int
) -> None:
    probed(monkeypatch, seconds)
    assert threads.choose(4) == best == torch.get_num_threads()


def test_counts_above_a_hopeless_one_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = probed(monkeypatch, {1: 1.0, 2: 70.0})
    assert threads.choose(8) == 1
    assert asked == [1, 2]


def test_one_allowed_thread_needs_no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = probed(monkeypatch, {})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads.choose() == 1
    assert asked == []


def test_the_probe_measures_some_time() -> None:
    assert threads.probe() > 0


def test_a_probe_that_is_lost_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(threads.time, "perf_counter", lambda: next(clock))
    assert threads.probe(most=0.5) > 0.5
    assert next(clock) == 2 * 3  # three repeats of five decide a median
    assert threads.probe(most=1.5) == 1
