"""MLflow's own store, read back; in a tox environment of its own: `tox -e mlflow`."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from mlflow import MlflowClient

from distillkit.api import RunInfo
from distillkit.testing import LoggerContract


class TestMlflow(LoggerContract):
    use = "mlflow"

    @pytest.fixture(autouse=True)
    def _files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder is enough for a test

    @property
    def config(self) -> dict[str, str]:
        return {"uri": str(Path.cwd() / "store")}

    def run(self) -> tuple[MlflowClient, str]:
        client = MlflowClient(tracking_uri=self.config["uri"])
        (experiment,) = [one for one in client.search_experiments() if one.name == "distillkit"]
        (run,) = client.search_runs([experiment.experiment_id])
        return client, run.info.run_id

    def scalars(self, info: RunInfo) -> dict[str, list[tuple[int, float]]]:
        client, run = self.run()
        names = ("loss/generator", "frechet/fd")
        return {name: sorted((m.step, m.value) for m in client.get_metric_history(run, name)) for name in names}

    def pictured(self, info: RunInfo) -> list[int]:
        client, run = self.run()
        return sorted(int(Path(file.path).stem.partition("-")[2]) for file in client.list_artifacts(run, "pictures"))

    def test_a_finished_run_is_finished_there(self) -> None:
        self.session(0, 400)
        client, run = self.run()
        assert client.get_run(run).info.status == "FINISHED"
        assert client.get_run(run).data.params["generator_loss.use"] == "toy"
