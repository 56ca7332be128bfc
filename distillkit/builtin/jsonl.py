"""All that a logger is told, as lines of JSON: for programs that follow a run, and as the plainest logger.

After a "run_started" with nimg = n, lines before it of more than n images are void: they come again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from distillkit.api import Logger, RunInfo, frozen


class JsonLines(Logger):
    """One line of JSON for each event of a run, in a file that other programs may follow."""

    @frozen(kw_only=True)
    class Config:
        path: str = ""  # the file; "": loggers/jsonl/events.jsonl in the run's folder

    file: TextIO | None = None

    def run_started(self, info: RunInfo) -> str:
        path = Path(self.config.path) if self.config.path else info.folder / "events.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("a", encoding="utf-8", buffering=1)  # a line is out when it is written
        self._write("run_started", id=info.id, run=str(info.path), nimg=info.nimg, total=info.total)
        return f"events in {path}"

    def tick(self, numbers: Mapping[str, float]) -> None:
        self._write("tick", **numbers)

    def evaluated(self, numbers: Mapping[str, float], facts: Mapping[str, Mapping[str, str]]) -> None:
        self._write("evaluated", **numbers)

    def pictures(self, path: Path, caption: str, nimg: int) -> None:
        self._write("pictures", path=str(path), caption=caption, nimg=nimg)

    def checkpoint_saved(self, path: Path) -> None:
        self._write("checkpoint_saved", path=str(path))

    def run_ended(self, outcome: Mapping[str, Any]) -> None:
        self._write("run_ended", **outcome)
        if self.file is not None:
            self.file.close()

    def _write(self, what: str, **facts: Any) -> None:
        if self.file is not None:
            self.file.write(json.dumps({"what": what, **plain(facts)}, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """What JSON holds: numbers that are not finite as words."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
