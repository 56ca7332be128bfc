"""A wish to stop: a flag that the loop looks at between iterations, or at once where all that counts is saved."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

# Ctrl-C, schedulers (SIGTERM; SIGUSR1, SIGUSR2 early warnings; SIGXCPU), a lost terminal. Windows has the first two.
NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU")
SIGNALS = tuple(signal.Signals[name] for name in NAMES if hasattr(signal, name))

ECHO = 2.0  # seconds: a scheduler signals every process of a job, and our launcher passes the same signal on


class Stopped(BaseException):
    """A signal came in work that may be left at any point; no `except Exception` of that work takes it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopRequest:
    """While entered, `requested` is the name of the signal that came; a second signal ends the process at once.

    Signals that the parent had us ignore (nohup) stay ignored; outside the main thread nothing is installed.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._since = 0.0
        self._at_once = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        while self._before:
            number, before = self._before.popitem()
            signal.signal(number, before or signal.SIG_DFL)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal raises Stopped between two operations of Python; so does one that came before."""
        if self.requested is not None:
            raise Stopped(signal.Signals[self.requested])
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, no signal raises; one that came does so at the end, where it would have at once."""
        at_once, self._at_once = self._at_once, False
        try:
            yield
        finally:
            self._at_once = at_once
        if at_once and self.requested is not None:
            self._at_once = False
            raise Stopped(signal.Signals[self.requested])

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested is None:
            self.requested, self._since = signal.Signals(number).name, time.monotonic()
            if self._at_once:
                self._at_once = False  # what unwinds is not interrupted
                raise Stopped(number)
            return
        if "RANK" in os.environ and time.monotonic() - self._since < ECHO:
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        os._exit(128 + number)  # process 1 of a container survives a default signal
