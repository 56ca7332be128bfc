"""What the page of a run is made from: read once from the run's folder, which is all there is to know."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from attrs import frozen

from distillkit.api import InputError
from distillkit.disk import results, typed
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.results import Scores
from distillkit.disk.rundir import RunDir


@frozen(kw_only=True)
class Saved:
    """A run as its folder tells it, finished or not; empty where a file is missing."""

    path: Path
    info: dict[str, Any]  # run.json
    end: dict[str, Any]  # exit.json
    rows: list[dict[str, Any]]  # metrics.jsonl
    scores: Scores

    @classmethod
    def of(cls, run_dir: Path) -> Saved:
        """Read a run's folder; warns of parts that it has lost.

        Raises InputError for a damaged run.json, exit.json or result/metrics.json.
        """
        info, end = _json(run_dir / "run.json"), _json(run_dir / "exit.json")
        RunDir(run_dir, info).warn_of_changes()
        for lost in (name for name in ("run.json", "resolved.toml") if not (run_dir / name).is_file()):
            warnings.warn(f"{run_dir} has no {lost}: what it says is not on the page", stacklevel=3)
        if end and type(end.get("code")) is not int:
            raise InputError(f"{run_dir / 'exit.json'} has no exit code")
        rows = MetricsLog(run_dir / "metrics.jsonl").read()
        return cls(path=run_dir, info=info, end=end, rows=rows, scores=results.read_or_last(run_dir, rows))

    @property
    def name(self) -> str:
        """The recipe's name, else the folder's."""
        return typed.text(self.info.get("recipe") or self.path.resolve().name)


def _json(path: Path) -> dict[str, Any]:
    return typed.json_object(path) if path.is_file() else {}
