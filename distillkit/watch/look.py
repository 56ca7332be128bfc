"""What a person wants to know of a run at a glance, read from its folder; nothing is written there."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from distillkit.api import DistillkitError
from distillkit.disk import lock, results, rundir, typed
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.rundir import RunDir

SHOWN_BY = ("metrics.jsonl", "exit.json", "result/metrics.json", "samples")  # files whose change makes another page


@frozen(kw_only=True)
class Look:
    """One run now; 0 and "" stand for what is not known yet."""

    name: str  # of its folder
    status: (
        str  # "running", "finished", "collapsed", "diverged", "failed", "waits" (was killed or preempted), "damaged"
    )
    nimg: int = 0
    total: int = 0  # images of the whole run
    rate: float = 0.0  # images per second at the last tick
    metric: str = ""  # the first that was measured
    value: float | None = None
    teacher: float | None = None
    floor: float | None = None
    version: str = ""  # another one when its page is another

    @property
    def progress(self) -> float:
        """Share of the images, 0 to 1."""
        return min(self.nimg / self.total, 1.0) if self.total else 0.0

    @property
    def left(self) -> float | None:
        """Seconds of training to come; None: not running, or no tick yet."""
        return (self.total - self.nimg) / self.rate if self.status == "running" and self.rate else None


def runs(root: Path) -> list[Look]:
    """Every run in the folder, the newest first."""
    return [look(path) for path in reversed(rundir.folders(root)) if not path.is_symlink()]


def look(path: Path) -> Look:
    """The run in this folder; one that cannot be read is "damaged"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a person looks every few seconds; the page of the run tells them
        try:
            return _look(RunDir.open(path))
        except DistillkitError:
            return Look(name=path.name, status="damaged", version=version(path))


def _look(run: RunDir) -> Look:
    status = run.status()
    if status == "unfinished":
        status = "running" if lock.alive(run.path) else "waits"
    rows = MetricsLog(run.metrics).read()
    ticks = [row for row in rows if row["what"] == "tick"]
    last = ticks[-1] if ticks else {}
    measured = next(iter(results.read_or_last(run.path, rows).rows()), None)
    return Look(
        name=run.path.name, status=status, nimg=max((row["nimg"] for row in rows), default=0), total=_total(run),
        rate=float(last.get("img_per_sec", 0.0)), metric=measured.name if measured else "",
        value=measured.student if measured else None, teacher=measured.teacher if measured else None,
        floor=measured.floor if measured else None, version=version(run.path),
    )  # fmt: skip


def _total(run: RunDir) -> int:
    kimg = typed.toml(run.resolved).get("run", {}).get("kimg", 0) if run.resolved.is_file() else 0
    return round(kimg * 1000) if isinstance(kimg, int | float) else 0


def version(path: Path) -> str:
    """Changes when the run's page would."""
    return "-".join(str(t) for t in _times(path))


def _times(path: Path) -> Iterator[int]:
    for name in SHOWN_BY:
        try:
            yield (path / name).stat().st_mtime_ns
        except OSError:  # not there yet, or gone meanwhile
            yield 0
