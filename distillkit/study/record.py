"""What the runs of a claim measured, beside its file: JSON to be committed, so that others go on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen
from attrs.validators import in_

from distillkit.api import InputError, UsageError
from distillkit.compare import Run
from distillkit.compare.curves import Point, Spread
from distillkit.disk import files, results, typed
from distillkit.study.plan import Study

LOST = ("diverged", "collapsed")


@frozen
class Row:
    """One finished run, or one that diverged or collapsed."""

    cell: str
    seed: int
    fingerprint: str
    state: str = field(validator=in_(("finished", *LOST)))
    nimg: int
    seconds: float  # of training
    metrics: Mapping[str, float] = field(factory=dict)
    better: Mapping[str, str] = field(factory=dict)  # which way they improve
    way: Sequence[tuple[int, float, Mapping[str, float]]] = ()  # images, seconds, and those that are claimed

    @classmethod
    def of(cls, cell: tuple[str, int], fingerprint: str, run: Run, state: str, metrics: Sequence[str]) -> Row:
        way = [(one.nimg, one.seconds, {name: one.metrics[name] for name in metrics if name in one.metrics})
               for one in run.evaluations]  # fmt: skip
        end = {row.name: row.student for row in results.table(run.scores.student) if row.student is not None}
        if state != "finished":
            end = {}
        return cls(*cell, fingerprint, state, run.nimg, run.seconds, end, dict(run.scores.better), way)

    @classmethod
    def read(cls, made: Mapping[str, Any]) -> Row:
        """Raises KeyError, TypeError, ValueError for what is none."""
        return cls(
            typed.text(made["cell"]), typed.count(made["seed"]), typed.text(made["fingerprint"]),
            typed.text(made["state"]), typed.count(made["nimg"]), typed.number(made["seconds"]), 
            numbers(made["metrics"]), {str(name): str(way) for name, way in made["better"].items()},
            [(typed.count(nimg), typed.number(seconds), numbers(found)) for nimg, seconds, found in made["way"]],
        )  # fmt: skip

    def curve(self, metric: str) -> list[Point]:
        found = [(nimg, seconds, values[metric]) for nimg, seconds, values in self.way if metric in values]
        return [Point(nimg / 1000, seconds, Spread.of([value])) for nimg, seconds, value in found]


def numbers(found: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): typed.number(value) for name, value in found.items()}


@frozen
class Record:
    """All rows of a claim's file, by fingerprint, and what was declared when the first was written."""

    path: Path
    declared: str
    rows: dict[str, Row]

    @classmethod
    def beside(cls, study: Study) -> Record:
        """Read FILE.json of FILE.toml, or begin it.

        Raises InputError for a damaged one, UsageError where the claim was changed after its first result.
        """
        path = study.path.with_suffix(".json")
        if not path.exists():
            return cls(path, study.declared, {})
        found = typed.json_object(path)
        try:
            rows = [Row.read(row) for row in found["rows"]]
            declared = str(found["declared"])
            if found["schema"] != 1:
                raise ValueError("this distillkit reads schema = 1")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not what `study --claim` writes: {type(error).__name__}: {error}") from error
        if rows and declared != study.declared:
            raise UsageError(
                f"{study.path} says something else than when the first result in {path} was written: "
                "a claim stands before its results; give the new one a file of its own"
            )
        return cls(path, study.declared, {row.fingerprint: row for row in rows})

    def add(self, rows: Sequence[Row]) -> None:
        """Keep further rows, on the disk as well."""
        self.rows.update({row.fingerprint: row for row in rows})
        made = [_json(row) for row in self.rows.values()]
        files.write_json(self.path, {"schema": 1, "declared": self.declared, "rows": made})

    @property
    def core_hours(self) -> float:
        return sum(row.seconds for row in self.rows.values()) / 3600


def _json(row: Row) -> dict[str, Any]:
    names = ("cell", "seed", "fingerprint", "state", "nimg", "seconds", "metrics", "better", "way")
    return {name: getattr(row, name) for name in names}
