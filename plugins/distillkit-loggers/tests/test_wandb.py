"""W&B's record file, read without W&B: every number and picture is in it once, over killed and resumed sessions."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # as the logger does, before W&B is imported
pytest.importorskip("wandb")

from wandb.proto import wandb_internal_pb2

from distillkit.api import RunInfo
from distillkit.testing import LoggerContract

HEADER, BLOCK = 7, 32768  # bytes: of the file and of each chunk; a chunk never crosses a block


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: LevelDB's log format, chunks of crc32, length, kind (1 whole, 2, 3, 4 parts)."""
    data, at, parts = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def ended(path: Path) -> list[Any]:
    """The records of a session that is over; a process of W&B writes the last ones when ours has gone on."""
    for _ in range(300):
        found = list(records(path))
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"W&B did not end {path}")


class TestWandb(LoggerContract):
    use = "wandb"
    config = {"mode": "offline", "machine": False}

    def rows(self, info: RunInfo) -> list[dict[str, Any]]:
        found = []
        for file in sorted(info.folder.glob("session-*/wandb/offline-run-*/*.wandb")):
            for record in ended(file):
                if record.WhichOneof("record_type") == "history":
                    names = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
                    found.append({name: json.loads(value) for name, value in names.items()})
        return found

    def scalars(self, info: RunInfo) -> dict[str, list[tuple[int, float]]]:
        rows = self.rows(info)
        assert [row["_step"] for row in rows] == list(range(len(rows)))  # W&B drops what does not rise
        curves: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            for name in row.keys() & {"loss/generator", "frechet/fd"}:
                curves.setdefault(name, []).append((row["nimg"], row[name]))
        return curves

    def pictured(self, info: RunInfo) -> list[int]:
        return [row["nimg"] for row in self.rows(info) if any(name.split(".")[0] == "samples" for name in row)]

    def kill(self, logger: Any) -> None:
        logger.run.finish(exit_code=1)  # two runs of one process may not share an id
        logger.told.settle()


def test_without_a_key_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from distillkit_loggers.wandb import Wandb

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    contract = TestWandb()
    monkeypatch.chdir(tmp_path)
    logger = Wandb(Wandb.Config(machine=False))
    told = logger.run_started(contract.info())
    logger.run_ended({"code": 0, "reason": "finished", "metrics": {}})
    assert logger.run.offline and "wandb sync" in told


ASKED = """
import sys
from pathlib import Path

sys.addaudithook(lambda event, given: print("asked for", given[0]) if event == "socket.getaddrinfo" else None)

from distillkit.api import RunInfo
from distillkit_loggers.wandb import Wandb

folder = Path(sys.argv[1])
logger = Wandb(Wandb.Config(machine=False))
logger.run_started(RunInfo(id="a", name="a", path=folder, folder=folder, recipe={}, nimg=0, total=10, versions={}))
logger.tick({"nimg": 10, "kimg": 0.01, "loss/generator": 1.0})
logger.run_ended({"code": 0})
"""


def test_an_offline_run_asks_for_no_host(tmp_path: Path) -> None:
    """Not at its end either, when W&B sends what it has of itself."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    command = [sys.executable, "-c", ASKED, str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
