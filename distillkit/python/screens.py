"""What a run says where it was called as a function: lines, nothing, or in a notebook lines and a bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from typing import Any

from distillkit.show import formats
from distillkit.show.screen import Bar, QuietScreen, Screen

EVERY = 0.5  # seconds between two looks of a bar: each is a message to the browser


def chosen(quiet: bool) -> Screen:
    """Choose by where we are."""
    if quiet:
        return Silent()
    return Notebook() if _in_notebook() else QuietScreen()


def _in_notebook() -> bool:
    """Is this a kernel of Jupyter or the like? An IPython on a terminal is none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class Silent(QuietScreen):
    """Says nothing but warnings."""

    def line(self, text: str) -> None:
        pass


class Notebook(QuietScreen):
    """Plain lines, and above them one piece of HTML with the bars, written anew in its place."""

    def __init__(self) -> None:
        self.bars: list[NotebookBar] = []
        self.handle: Any = None
        self.shown = 0.0

    @contextmanager
    def progress(self, what: str, total: float | None, unit: str) -> Iterator[Bar]:
        bar = NotebookBar(self, what, total, unit)
        self.bars.append(bar)
        self.show(now=total is None)
        try:
            yield bar
        finally:
            self.bars.remove(bar)
            self.show(now=not self.bars)

    def show(self, now: bool = False) -> None:
        """Write the bars, now or if the last time is a while ago."""
        if not now and time.monotonic() - self.shown < EVERY:
            return
        display = import_module("IPython.display")  # there, or this screen would not have been chosen
        self.shown = time.monotonic()
        html = display.HTML("".join(bar.html() for bar in self.bars) or "<span></span>")
        if self.handle is None:
            self.handle = display.display(html, display_id=True)
        else:
            self.handle.update(html)


class NotebookBar:
    """One piece of work, as an element of HTML."""

    def __init__(self, screen: Notebook, what: str, total: float | None, unit: str) -> None:
        self.screen, self.what, self.total, self.unit = screen, what, total, unit
        self.done, self.seconds, self.start = 0.0, 0.0, time.monotonic()

    def advance(self, n: float, seconds: float | None = None) -> None:
        self.done += n
        self.seconds = time.monotonic() - self.start if seconds is None else self.seconds + seconds
        self.screen.show()

    def html(self) -> str:
        """The bar, how far it is, and the time left; of work whose end nobody knows, a bar that only moves."""
        told, value = [escape(self.what)], ""
        if self.total:
            scale, unit = (1000, "kimg") if self.unit == "img" and self.total >= 1000 else (1, self.unit)
            told += [f"{self.done / scale:.6g} of {self.total / scale:.6g} {escape(unit)}"]
            value = f' max="1" value="{self.done / self.total:.4f}"'
            if self.done:
                told += [f"{formats.duration(self.seconds / self.done * (self.total - self.done))} left"]
        return f'<div><progress{value} aria-label="{escape(self.what)}"></progress> {", ".join(told)}</div>'
