"""TensorBoard's own reader finds every scalar and picture, each once."""

from __future__ import annotations

import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distillkit.api import RunInfo
from distillkit.testing import LoggerContract


class TestTensorBoard(LoggerContract):
    use = "tensorboard"

    @staticmethod
    def read(info: RunInfo) -> EventAccumulator:
        found = EventAccumulator(str(info.folder), size_guidance={"images": 0, "scalars": 0})
        found.Reload()
        return found

    def scalars(self, info: RunInfo) -> dict[str, list[tuple[int, float]]]:
        events = self.read(info)
        return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}

    def pictured(self, info: RunInfo) -> list[int]:
        return [event.step for event in self.read(info).Images("samples")]
