"""trackio: a dashboard on this machine, of Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillkit.api import Logger, RunInfo, frozen
from distillkit_loggers.once import Told, kind_of, package


class Trackio(Logger):
    """Curves and pictures in trackio's dashboard; steps are images seen."""

    @frozen(kw_only=True)
    class Config:
        project: str = "distillkit"  # it is made where there is none
        space: str | None = None  # a Space of Hugging Face to send everything to; unset: this machine alone

    run: Any = None

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.trackio = package("trackio", "trackio")

    def run_started(self, info: RunInfo) -> str:
        self.told = Told(info.folder, settles=5.0)  # a thread of its own writes
        self.run = self.trackio.init(
            project=self.config.project, name=f"{info.path.name}-{info.id[-8:]}", space_id=self.config.space,
            config=dict(info.recipe), resume="allow", embed=False,
        )  # fmt: skip
        return f"trackio show --project {self.config.project}"

    def tick(self, numbers: Mapping[str, float]) -> None:
        self._log("tick", numbers, dict(numbers))

    def evaluated(self, numbers: Mapping[str, float], facts: Mapping[str, Mapping[str, str]]) -> None:
        self._log("evaluated", numbers, dict(numbers))

    def pictures(self, path: Path, caption: str, nimg: int) -> None:
        kind = kind_of(path)
        self._log(kind, {"nimg": nimg}, {kind: self.trackio.Image(str(path), caption=caption)})

    def _log(self, what: str, at: Mapping[str, float], values: dict[str, Any]) -> None:
        if self.told.first(what, at["nimg"]):
            self.run.log(values, step=int(at["nimg"]))

    def run_ended(self, outcome: Mapping[str, Any]) -> None:
        self.run.finish()
        self.told.settle()
