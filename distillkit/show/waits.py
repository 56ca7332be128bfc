"""What takes a while, as components say it: INFO lines of Python's loggers "distillkit.<anything>"."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from distillkit.show.screen import Screen

NAME = "distillkit"


class _Lines(logging.Handler):
    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.INFO)
        self.screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self.screen.line(record.getMessage())


@contextmanager
def waits_shown(screen: Screen) -> Iterator[None]:
    """Inside, these lines are shown."""
    logger, lines = logging.getLogger(NAME), _Lines(screen)
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before)
