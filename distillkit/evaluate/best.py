"""The best average so far by one metric, and the checkpoint that holds it: `[run] keep_best`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from distillkit.disk import checkpoint
from distillkit.evaluate import evaluation, serve
from distillkit.recipe.checks import refuse_unmeasured, unmeasured
from distillkit.train import snapshot
from distillkit.train.state import State


@frozen
class Best:
    """The best value seen, and after how many images it was measured."""

    value: float
    nimg: int

    @property
    def checkpoint(self) -> str:
        return checkpoint.name(self.nimg)


class Keeper:
    """Follows the metric over the evaluations of a run."""

    def __init__(self, state: State) -> None:
        """Raises UsageError for a metric that its component will not measure."""
        self.state, self.metric = state, state.recipe.run.keep_best
        self.best: Best | None = None
        # The recipe was refused unless a component tells the direction.
        self.higher = self.metric is not None and evaluation.better(state, [self.metric])[self.metric] == "higher"
        for name, part in evaluation.components(state).items():
            refuse_unmeasured(self.metric, name, part.measures(state))

    def improved(self, found: dict[str, float]) -> bool:
        """Take note of an evaluation -> whether it is the best so far. Raises UsageError for an unknown metric."""
        if self.metric is None or not any(name.split("/")[0] == self.metric.split("/")[0] for name in found):
            return False
        if self.metric not in found:
            raise unmeasured(self.metric, found)
        value = found[self.metric]
        if math.isfinite(value) and (self.best is None or self._better(value, self.best.value)):
            self.best = Best(value, self.state.nimg)
            return True
        return False

    def _better(self, value: float, than: float) -> bool:
        return value > than if self.higher else value < than

    @property
    def pinned(self) -> tuple[str, ...]:
        return (self.best.checkpoint,) if self.best else ()

    def go_back(self, nimg: int) -> None:
        """Forget what is newer: the best is at most `nimg` images old, and that one where none was measured."""
        if self.best is None or self.best.nimg > nimg:
            self.best = Best(math.nan, nimg)

    def take_back(self, checkpoints: Path, run: str = "") -> Best | None:
        """Put the best average into `state.ema`; None where that is the last one. Raises InputError if it is lost."""
        if self.best is None or self.best.nimg == self.state.nimg:
            return None
        # On the CPU, and nothing else of it: networks and optimizers of the run are alive on the device.
        tensors, _ = checkpoint.load(checkpoints / self.best.checkpoint, "cpu", run, only="ema")
        snapshot.take_average(self.state, self.state.ema, tensors)
        serve.send_average(self.state)  # which draws with the others
        return self.best

    def saved(self) -> dict[str, Any] | None:
        return asdict(self.best) if self.best else None

    def restore(self, saved: dict[str, Any] | None) -> None:
        self.best = Best(**saved) if saved else None
