"""The pictures of a point of the run, each by itself: one that fails leaves the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from distillkit.disk.rundir import RunDir
from distillkit.evaluate import evaluation, triptych
from distillkit.evaluate.draw import Drawer
from distillkit.run.loggers import Loggers
from distillkit.show import formats
from distillkit.train.state import State


def write(state: State, run: RunDir, draw: Drawer, loggers: Loggers, failed: evaluation.Failed) -> None:
    """Draw them, and tell the loggers of each."""
    sheets: dict[str, Callable[[], Path | None]] = {
        "the picture": partial(evaluation.write_grid, state, run, draw),
        "the triptych": partial(triptych.write, state, run),
    }
    for what, sheet in sheets.items():
        try:
            if path := sheet():
                loggers.picture(path, f"{run.info['recipe']}, {formats.kimg(state.nimg)} kimg", state.nimg)
        except Exception as error:
            failed(what, error)
