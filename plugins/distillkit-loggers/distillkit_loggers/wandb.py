"""Weights & Biases: a run there for each run here, in its own folder where there is no key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillkit.api import Logger, RunInfo, field, frozen, in_
from distillkit_loggers.once import Told, kind_of, package

FLUSH = 0.2  # seconds between writes of W&B's own process; it waits 15 unless told, and a kill loses them
MODES = "auto", "online", "offline"


class Wandb(Logger):
    """Curves and pictures on Weights & Biases; a resumed run goes on there as the same run."""

    @frozen(kw_only=True)
    class Config:
        project: str = "distillkit"  # it is made where there is none
        entity: str | None = None  # team or user; unset: the key's
        mode: str = field(default="auto", validator=in_(MODES))
        """"auto": online where the environment has a WANDB_API_KEY, else offline, for `wandb sync` later"""
        machine: bool = True  # load and memory of the machine too

    run: Any = None

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        # Its own reports of errors and times go out even from offline runs, and from the first import on.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self.wandb = package("wandb", "wandb")

    def run_started(self, info: RunInfo) -> str:
        config, mode = self.config, self.config.mode
        if mode == "auto":
            mode = "online" if os.environ.get("WANDB_API_KEY") else "offline"
        self.told = Told(info.folder, settles=3 * FLUSH)
        # W&B names offline folders by the second: two sessions in one would write over each other.
        folder = info.folder / f"session-{self.told.count('session')}"
        folder.mkdir(exist_ok=True)
        self.run = self.wandb.init(
            project=config.project, entity=config.entity, id=info.id, name=info.path.name, resume="allow", mode=mode,
            dir=str(folder), config={**info.recipe, "versions": dict(info.versions)},
            # It neither takes the terminal nor sends the working directory's code.
            settings=self.wandb.Settings(
                silent=True, console="off", disable_git=True, disable_code=True, save_code=False,
                x_disable_stats=not config.machine, x_transaction_log_flush_interval=FLUSH, reinit="create_new",
            ),
        )  # fmt: skip
        self.run.define_metric("*", step_metric="kimg")
        return (
            f"wandb: {self.run.url}" if mode == "online" else f"wandb sync {info.folder}/session-*/wandb/offline-run-*"
        )

    def tick(self, numbers: Mapping[str, float]) -> None:
        self._log("tick", numbers, dict(numbers))

    def evaluated(self, numbers: Mapping[str, float], facts: Mapping[str, Mapping[str, str]]) -> None:
        self._log("evaluated", numbers, dict(numbers))
        self.run.config.update({"protocol": {name: dict(told) for name, told in facts.items()}}, allow_val_change=True)

    def pictures(self, path: Path, caption: str, nimg: int) -> None:
        kind = kind_of(path)
        at = {"nimg": nimg, "kimg": nimg / 1000}
        self._log(kind, at, {**at, kind: self.wandb.Image(str(path), caption=caption)})

    def _log(self, what: str, at: Mapping[str, float], values: dict[str, Any]) -> None:
        """A row of its own, once: W&B takes no row back, and none with a step that it has."""
        if self.told.first(what, at["nimg"]):
            self.run.log(values, step=self.told.count("step"), commit=True)

    def run_ended(self, outcome: Mapping[str, Any]) -> None:
        for name, value in outcome.get("metrics", {}).items():
            self.run.summary[f"final/{name}"] = value
        if outcome["code"] == 75:
            self.run.mark_preempting()
        self.run.finish(exit_code=outcome["code"])
        self.told.settle()
