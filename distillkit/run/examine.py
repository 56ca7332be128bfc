"""A look at a run: images that were drawn anyway beside real ones, metrics beside those of the teacher's one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillkit.evaluate import evaluation, health
from distillkit.evaluate.draw import Drawer
from distillkit.guard import START, Watch, relative
from distillkit.show.screen import Screen
from distillkit.train.state import State


class Examiner:
    """Makes the rows that a Watch reads."""

    def __init__(self, state: State, watch: Watch, screen: Screen, failed: evaluation.Failed) -> None:
        self.state, self.watch, self.screen, self.failed = state, watch, screen, failed
        self.real: health.Real | None = None
        self.asked: set[str] = set()  # components whose metrics of the teacher's one step were asked for

    def look(self, draw: Drawer, metrics: Mapping[str, float]) -> dict[str, Any]:
        """Compare what `draw` drew, and its `metrics` -> the numbers of a row; {} where it drew nothing."""
        if draw.drawn is None:
            return {}
        self.real = self.real or health.Real.of(self.state.dataset)
        found = health.measure(draw.drawn, self.real)
        start = self.watch.start | (new := self.one_step(metrics))
        better = evaluation.better(self.state, start)
        return found | {f"{START}{name}": value for name, value in new.items()} | relative(metrics, start, better)

    def one_step(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Measure the untouched teacher, by components that measured the student now and did not measure it yet.

        Those that measure a run at its end alone are left out: one more of theirs may take longer than it is worth.
        """
        known = {name.partition("/")[0] for name in self.watch.start} | self.asked
        now = {name.partition("/")[0] for name in metrics} - known
        parts = [part for part in self.state.evaluators if part.name in now and part.slot.every_kimg is not None]
        if self.state.teacher is None or not parts:
            return {}
        self.asked |= {part.name for part in parts}
        return evaluation.one_step(self.state, parts, self.screen, self.failed)
