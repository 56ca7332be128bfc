"""What the page of a run is made from: read once from the run's folder, which is all there is to know."""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from distillkit.api import InputError
from distillkit.api.named import told_of
from distillkit.disk import lock, results, typed
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.results import Scores
from distillkit.disk.rundir import RunDir
from distillkit.guard import START, Watch
from distillkit.recipe.schema import Guard

WAYS = ("lower", "higher", "none")


@attrs.define(kw_only=True, slots=False)
class Saved:
    """A run as its folder tells it, finished or not; empty where a file is missing."""

    path: Path
    info: dict[str, Any]  # run.json
    end: dict[str, Any]  # exit.json
    recipe: dict[str, Any]  # resolved.toml
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
        return cls(
            path=run_dir, info=info, end=end, recipe=_recipe(run_dir / "resolved.toml"), rows=rows,
            scores=results.read_or_last(run_dir, rows),
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The recipe's name, else the folder's."""
        return typed.text(self.info.get("recipe") or self.path.resolve().name)

    @cached_property
    def status(self) -> str:
        """ "finished", "collapsed", "diverged", "failed", "running", or "waits": nobody works on it."""
        found = RunDir(self.path, self.info).status()
        return found if found != "unfinished" else "running" if lock.alive(self.path) else "waits"

    @property
    def nimg(self) -> int:
        """Images seen, by the newest row."""
        return max((row["nimg"] for row in self.rows), default=0)

    @property
    def total(self) -> int:
        """Images of the whole run; 0: not known."""
        kimg = table(self.recipe, "run").get("kimg")
        return round(kimg * 1000) if isinstance(kimg, int | float) else 0

    @property
    def skipped(self) -> int:
        """Updates that were not finite."""
        return max((row["skipped"] for row in self.rows if type(row.get("skipped")) is int), default=0)

    @property
    def start(self) -> dict[str, float]:
        """Metrics of the untouched teacher, sampled as the student is, where the guard measured them."""
        looks = [row["health"] for row in self.rows if isinstance(row.get("health"), dict)]
        return {
            key.removeprefix(START): float(value)
            for look in looks for key, value in look.items()
            if key.startswith(START) and isinstance(value, int | float)
        }  # fmt: skip

    @cached_property
    def watch(self) -> Watch | None:
        """The guard after all rows, read again by the run's own [run.guard]; None: it cannot be read, or is off."""
        run = table(self.recipe, "run")
        known = {each.name for each in attrs.fields(Guard)}
        keys = {key: value for key, value in table(run, "guard").items() if key in known}
        try:
            watch = Watch(Guard(**keys), int(run["batch"]))
            for row in self.rows:
                watch.see(row)
        except (KeyError, TypeError, ValueError):  # an older release's rows, or what somebody edited
            return None
        return watch if watch.guard.action != "off" else None

    def way(self, metric: str) -> str | None:
        """Which way a metric improves: "lower", "higher", "none"; None: nobody told."""
        return self.scores.better.get(metric) or self._told("better", metric)

    def meaning(self, metric: str) -> str:
        """What a metric means, in a sentence of its component; "": nobody told."""
        return self._told("means", metric) or ""

    def _told(self, what: str, metric: str) -> str | None:
        component, _, name = metric.partition("/")
        of = table(table(table(self.info, "told"), "metrics"), component)
        found = told_of(name, {key: str(text) for key, text in table(of, what).items()})
        return typed.text(found) if found and (what != "better" or found in WAYS) else None


def table(of: dict[str, Any], key: str) -> dict[str, Any]:
    """The table of that name; an empty one where there is none: others may have written the file."""
    found = of.get(key)
    return found if isinstance(found, dict) else {}


def sessions(run: Saved) -> list[dict[str, Any]]:
    """What run.json tells of each session, the first and the newest ones."""
    told = run.info.get("sessions")
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []


def _recipe(path: Path) -> dict[str, Any]:
    """The resolved recipe; a damaged one is shown as the text that it is, and tells nothing else."""
    if not path.is_file():
        return {}
    try:
        return typed.toml(path)
    except InputError as error:
        warnings.warn(f"{error}: what it says is not on the page", stacklevel=4)
        return {}


def _json(path: Path) -> dict[str, Any]:
    return typed.json_object(path) if path.is_file() else {}
