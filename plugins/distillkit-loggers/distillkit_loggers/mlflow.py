"""MLflow: a run of its tracking server, or of a folder that its program reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillkit.api import Logger, RunInfo, frozen
from distillkit_loggers.once import Told, package

ENDS = {0: "FINISHED", 75: "SCHEDULED"}  # by exit code; else "FAILED"


class Mlflow(Logger):
    """Curves and pictures in MLflow; steps are images seen, and a resumed run is the same run there."""

    @frozen(kw_only=True)
    class Config:
        uri: str = ""  # of the tracking server; "": MLFLOW_TRACKING_URI, else MLflow's default in this folder
        experiment: str = "distillkit"  # it is made where there is none

    client: Any = None
    run: str = ""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.mlflow = package("mlflow", "mlflow")

    def run_started(self, info: RunInfo) -> str:
        self.told, kept = Told(info.folder), info.folder / "run.json"
        self.client = self.mlflow.MlflowClient(tracking_uri=self.config.uri or None)
        if kept.exists():
            self.run = json.loads(kept.read_text())["run"]
            self.client.update_run(self.run, status="RUNNING")
        else:
            found = self.client.get_experiment_by_name(self.config.experiment)
            experiment = found.experiment_id if found else self.client.create_experiment(self.config.experiment)
            tags = {"distillkit.run": info.id, **{f"version.{name}": text for name, text in info.versions.items()}}
            self.run = self.client.create_run(experiment, tags=tags, run_name=info.path.name).info.run_id
            kept.write_text(json.dumps({"run": self.run}))
            for key, value in flat(info.recipe):
                self.client.log_param(self.run, key[:250], str(value)[:500])
        return f"mlflow: experiment {self.config.experiment}, run {self.run}"

    def tick(self, numbers: Mapping[str, float]) -> None:
        self._log("tick", numbers)

    def evaluated(self, numbers: Mapping[str, float], facts: Mapping[str, Mapping[str, str]]) -> None:
        self._log("evaluated", {name: value for name, value in numbers.items() if name not in ("kimg", "seconds")})

    def _log(self, what: str, numbers: Mapping[str, float]) -> None:
        if self.told.first(what, numbers["nimg"]):
            for name, value in numbers.items():
                self.client.log_metric(self.run, name, value, step=int(numbers["nimg"]))

    def pictures(self, path: Path, caption: str, nimg: int) -> None:
        if self.told.first(f"picture {path.name}", nimg):
            self.client.log_artifact(self.run, str(path), "pictures")

    def run_ended(self, outcome: Mapping[str, Any]) -> None:
        self.client.set_terminated(self.run, ENDS.get(outcome["code"], "FAILED"))


def flat(table: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Keys with dots and values of nested tables."""
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        inner = isinstance(value, Mapping)
        found += flat(value, f"{before}{key}.") if inner else [(f"{before}{key}", value)]
    return found
