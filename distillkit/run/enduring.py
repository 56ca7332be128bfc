"""A screen that may be lost without harm: its reader leaves (`| head`), or the disk behind it is full (`| tee`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from distillkit.show.screen import Bar, NoBar, Screen


class EnduringScreen:
    """Shows what it can; once that fails it is silent, and the run goes on: log.txt has every line."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.lost = screen, False

    @property
    def width(self) -> int:
        return self.screen.width

    def plan(self, rows: Sequence[Mapping[str, str]]) -> None:
        self._try(lambda: self.screen.plan(rows))

    def stage(self, name: str) -> None:
        self._try(lambda: self.screen.stage(name))

    def line(self, text: str) -> None:
        self._try(lambda: self.screen.line(text))

    def head(self, text: str) -> None:
        self._try(lambda: self.screen.head(text))

    def warn(self, text: str) -> None:
        self._try(lambda: self.screen.warn(text))

    def progress(self, what: str, total: float | None, unit: str) -> AbstractContextManager[Bar]:
        return self._bar(what, total, unit)

    @contextmanager
    def _bar(self, what: str, total: float | None, unit: str) -> Iterator[Bar]:
        if self.lost:
            yield NoBar()
            return
        shown = self.screen.progress(what, total, unit)
        bar: list[Bar] = []
        self._try(lambda: bar.append(shown.__enter__()))
        try:
            yield EnduringBar(self, bar[0]) if bar else NoBar()
        finally:
            if bar:
                self._try(lambda: shown.__exit__(None, None, None))

    def _try(self, show: Callable[[], object]) -> None:
        if self.lost:
            return
        try:
            show()
        except (OSError, ValueError):  # ValueError: a file that was closed
            self.lost = True


class EnduringBar:
    """A bar of such a screen."""

    def __init__(self, screen: EnduringScreen, bar: Bar) -> None:
        self.screen, self.bar = screen, bar

    def advance(self, n: float, seconds: float | None = None) -> None:
        self.screen._try(lambda: self.bar.advance(n, seconds))
