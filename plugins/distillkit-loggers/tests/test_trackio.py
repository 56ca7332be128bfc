"""trackio's own store, read back; in a tox environment of its own: `tox -e trackio`."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

import pytest

# It asks for its folder once, when it is imported.
os.environ["TRACKIO_DIR"] = STORE = tempfile.mkdtemp(prefix="distillkit-trackio-")
pytest.importorskip("trackio")

from distillkit.api import RunInfo
from distillkit.testing import LoggerContract


class TestTrackio(LoggerContract):
    use = "trackio"

    @pytest.fixture(autouse=True)
    def _empty(self, _package: None) -> None:
        shutil.rmtree(STORE, ignore_errors=True)

    def kill(self, logger: Any) -> None:
        logger.run.finish()
        logger.told.settle()

    def rows(self, info: RunInfo) -> list[dict[str, Any]]:
        from trackio.sqlite_storage import SQLiteStorage

        (run,) = SQLiteStorage.get_runs("distillkit")
        return SQLiteStorage.get_logs("distillkit", run)

    def scalars(self, info: RunInfo) -> dict[str, list[tuple[int, float]]]:
        rows = self.rows(info)
        names = ("loss/generator", "frechet/fd")
        return {name: [(row["step"], row[name]) for row in rows if name in row] for name in names}

    def pictured(self, info: RunInfo) -> list[int]:
        return [row["step"] for row in self.rows(info) if "samples" in row]
