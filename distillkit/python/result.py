"""A run as an object: its numbers, curves and images."""

from __future__ import annotations

from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from distillkit.disk import results
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.rundir import RunDir
from distillkit.python.asked import run_path
from distillkit.show import formats, notebook, verdict
from distillkit.show.scores import ARROWS
from distillkit.show.verdict import Verdict

if TYPE_CHECKING:
    from PIL import Image as PIL
    from torch import Tensor

    from distillkit.networks.loaded import Student

NOT_CURVES = {"what", "nimg", "kimg"}


class Result:
    """One run on disk, read when it is asked; what a run that is under way writes is seen at the next look."""

    def __init__(self, path: str | int | Path) -> None:
        """`path`: a run's folder, or its number in runs/. Raises UsageError for what is none."""
        self.path = run_path(path)
        self.run = RunDir.open(self.path)

    def __repr__(self) -> str:
        return f"Result({str(self.path)!r}, {self.status})"

    @property
    def status(self) -> str:
        """ "finished", "collapsed", "diverged", "failed" or "unfinished"."""
        return self.run.status()

    @property
    def verdict(self) -> Verdict:
        """What the run is in words, as its page says it: `text`, `level` ("well", "look", "bad", "open"), `reasons`."""
        return verdict.of(self.path)

    @property
    def metrics(self) -> dict[str, float]:
        """The student's, by "<component>/<name>"; spreads end with "_sd", those of real images with "_floor"."""
        return dict(self._scores.student)

    @property
    def teacher(self) -> dict[str, float]:
        """The teacher's, where they were measured."""
        return dict(self._scores.teacher)

    @property
    def curves(self) -> dict[str, dict[str, list[float]]]:
        """By name {"kimg": [...], "value": [...]}: losses, rates and metrics; `pandas.DataFrame` takes each."""
        found: dict[str, dict[str, list[float]]] = {}
        for row in MetricsLog(self.run.metrics).read():
            for name, value in row.items():
                if name not in NOT_CURVES and isinstance(value, int | float):
                    curve = found.setdefault(name, {"kimg": [], "value": []})
                    curve["kimg"].append(row["nimg"] / 1000)
                    curve["value"].append(float(value))
        return found

    @property
    def recipe(self) -> str:
        """The resolved recipe, as TOML."""
        return self.run.resolved.read_text(encoding="utf-8")

    @cached_property
    def student(self) -> Student:
        """The student, as `distillkit.load` gives it. Raises InputError where there is none yet."""
        from distillkit.networks.loaded import load

        return load(self.path)

    def images(self, n: int = 16, seed: int = 0) -> Tensor:
        """Images [n,C,H,W] in [-1,1] of the student, pixels of latents; the same n and seed, the same images."""
        return self.student.decode(self.student(n=n, seed=seed))

    def sheet(self, n: int = 64, seed: int = 0) -> PIL.Image:
        """The same images on one sheet, enlarged: a picture of PIL, which notebooks show."""
        return self.student.sheet(n, seed)

    @property
    def _scores(self) -> results.Scores:
        return results.read_or_last(self.path, MetricsLog(self.run.metrics).read())

    def _repr_html_(self) -> str:
        """What a notebook shows: the table of the page, and the newest picture."""
        scores = self._scores
        arrows = {name: ARROWS.get(way, "") for name, way in scores.better.items()}
        rows = [
            [(f"{row.name} {arrows.get(row.name, '')}".strip(), "span"), *_cells(row)] for row in scores.rows()
        ]  # fmt: skip
        table = notebook.table(["metric", "teacher", "student", "real v real"], rows) if rows else ""
        title = f"<b>{escape(self.path.name)}</b>: {escape(str(self.verdict))}"
        return f"<div>{title}{table}{_picture(self.run.samples)}</div>"


def _cells(row: results.Row) -> list[notebook.Marked]:
    values = (row.teacher, row.teacher_sd), (row.student, row.student_sd), (row.floor, row.floor_sd)
    return [("" if value is None else formats.with_spread(value, sd), "span") for value, sd in values]


def _picture(folder: Path) -> str:
    """The comparison, else the newest sheet."""
    found = [*sorted(folder.glob("kimg-*.png")), *folder.glob("comparison.png")]
    if not found:
        return ""
    of_both = found[-1].stem == "comparison"
    return notebook.picture(found[-1], "teacher and student from the same noise" if of_both else found[-1].stem)
