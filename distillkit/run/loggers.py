"""The loggers of a run: each is told of everything, and left out when it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distillkit.api import Choice, Logger, RunInfo
from distillkit.api.explained import explained
from distillkit.disk.rundir import RunDir
from distillkit.recipe.schema import Recipe, by_logged_name
from distillkit.recipe.write import tables
from distillkit.show.screen import Screen

FOLDER = "loggers"  # in the run's folder, one for each


class Loggers:
    """Those that a recipe names, by the names they are logged under."""

    def __init__(self, choices: Sequence[Choice[Logger]], run: RunDir, screen: Screen) -> None:
        """Raises UsageError for one that cannot be used here, such as without its package."""
        self.live: dict[str, Logger] = {name: choice.build() for name, choice in by_logged_name(choices).items()}
        self.run, self.screen = run, screen

    @contextmanager
    def told(self, recipe: Recipe, nimg: int) -> Iterator[dict[str, Any]]:
        """Tell of the start, and whatever happens of the end; inside, a dict for what is to be told of the end."""
        total, plain = round(recipe.run.kimg * 1000), tables(recipe)
        versions, id_ = dict(self.run.info.get("versions", {})), self.id
        for name in list(self.live):
            folder = self.run.path / FOLDER / name
            folder.mkdir(parents=True, exist_ok=True)
            info = RunInfo(
                id=id_, name=str(self.run.info["recipe"]), path=self.run.path, folder=folder, recipe=plain, nimg=nimg,
                total=total, versions=versions,
            )  # fmt: skip
            if told := self._tell(name, "run_started", info):
                self.screen.line(str(told))
        outcome: dict[str, Any] = {"code": 0, "reason": "finished", "metrics": {}}
        try:
            yield outcome
        except BaseException as error:
            known = explained(error) if isinstance(error, Exception) else None
            code = 130 if isinstance(error, KeyboardInterrupt) else 1
            outcome |= {"code": known.exit_code if known else code, "reason": str(known or error)}
            raise
        finally:
            self.tell("run_ended", outcome)

    @property
    def id(self) -> str:
        """Of the run: its fingerprint, and when its folder was made, for two runs may have the same."""
        return f"{self.run.fingerprint}{''.join(filter(str.isdigit, str(self.run.info.get('created', ''))))[:14]}"

    def tell(self, what: str, *facts: Any) -> None:
        """Call this method of every logger that is still there."""
        for name in list(self.live):
            self._tell(name, what, *facts)

    def _tell(self, name: str, what: str, *facts: Any) -> Any:
        try:
            return getattr(self.live[name], what)(*facts)
        except Exception as error:
            del self.live[name]
            text = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            self.screen.warn(f"logger {name!r} failed at {what}: {text}; the run goes on without it")
            return None

    def row(self, row: Mapping[str, Any], facts: Mapping[str, Mapping[str, str]]) -> None:
        """Tell of a row of metrics.jsonl: of its numbers, where it is a tick or an evaluation."""
        what = {"tick": "tick", "evaluate": "evaluated"}.get(row["what"])
        numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
        if what == "tick":
            self.tell(what, numbers)
        elif what:
            self.tell(what, numbers, facts)

    def picture(self, path: Path, caption: str, nimg: int) -> None:
        self.tell("pictures", path, caption, nimg)
