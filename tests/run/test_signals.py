"""Signals: a flag first, the end second."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

import pytest

from distillkit.run import signals
from distillkit.run.signals import Stopped, StopRequest

SIGNALS = list(signals.SIGNALS)


@pytest.fixture(autouse=True)
def nothing_ignored():
    """As at a terminal: a process started in the background may have been told to ignore SIGINT."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_the_flag_and_nothing_else(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert stop.requested is None
        signal.raise_signal(number)
        assert stop.requested == number.name


def test_the_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(RuntimeError), StopRequest():
        assert [signal.getsignal(number) for number in SIGNALS] != before
        raise RuntimeError
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_off_the_main_thread_nothing_is_installed() -> None:
    seen = []

    def work() -> None:
        with StopRequest() as stop:
            seen.append((signal.getsignal(signal.SIGTERM), stop.requested))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, None)]


def test_a_signal_that_the_parent_had_us_ignore_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.requested is None
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_at_once(first: signal.Signals, second: signal.Signals) -> None:
    child = os.fork()
    if child == 0:
        try:
            with StopRequest():
                signal.raise_signal(first)
                signal.raise_signal(second)
                time.sleep(60)
        finally:
            os._exit(99)  # not reached: the second signal unwinds nothing
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -second  # a shell shows 128 + number


@pytest.mark.parametrize("number", SIGNALS)
def test_where_all_is_saved_a_signal_ends_the_work_between_two_lines(number: signal.Signals) -> None:
    with StopRequest() as stop:
        with pytest.raises(Stopped, match=number.name), stop.at_once():
            with suppress(Exception):  # what plugins do
                signal.raise_signal(number)
            raise AssertionError("the work went on")
        assert stop.requested == number.name
        with pytest.raises(Stopped), stop.at_once():  # and so does one that came before
            raise AssertionError("the work began")


def test_a_rank_takes_the_same_signal_from_its_launcher_and_a_scheduler_for_one(monkeypatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested == "SIGTERM"
