"""A stand-in for the command: what each process does is a few lines of code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from distillkit import launch
from distillkit.launch import workers


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A shell starts its background jobs deaf to Ctrl-C, and so would be what the tests start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# It leaves with 75 on a signal, as a run that saves; every process notes its environment in a folder.
STAND_IN = """
import json, os, pathlib, signal, sys, time
rank, folder = int(os.environ["RANK"]), pathlib.Path(sys.argv[1])
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
(folder / f"{rank}.{attempt}").write_text(json.dumps(dict(os.environ)))
def everyone():
    while len(list(folder.glob(f"*.{attempt}"))) < int(os.environ["WORLD_SIZE"]):
        time.sleep(0.05)
def kill(number=signal.SIGKILL):
    os.kill(os.getpid(), number)
"""
LAUNCHER = """
import json, sys
from distillkit import launch
from distillkit.api import DistillkitError
given = json.loads(sys.argv[1])
given["master"] = tuple(given.get("master", ("127.0.0.1", 0)))
task = launch.Task(**given)
try:
    found = launch.lead(task) if task.node == 0 else launch.follow(task)
except DistillkitError as error:
    found = launch.Outcome(error.exit_code, str(error))
print(json.dumps([found.code, found.line]), flush=True)
"""


class StandIn:
    """Processes that run `code` after the lines above; what they noted is in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launchers: list[subprocess.Popen[str]] = []

    def keys(self, code: str, nproc: int = 2, **more: object) -> dict[str, object]:
        return {"command": [sys.executable, "-c", STAND_IN + code, str(self.folder)], "nproc": nproc} | more

    def task(self, code: str, nproc: int = 2, **more: object) -> launch.Task:
        return launch.Task(**self.keys(code, nproc, **more))

    def launcher(
        self, code: str, nproc: int = 2, before: str = "", wrap: Sequence[str] = (), **more: object
    ) -> subprocess.Popen[str]:
        """A launcher in a process of its own, which prints code and line."""
        argv = [*wrap, sys.executable, "-c", before + LAUNCHER, json.dumps(self.keys(code, nproc, **more))]
        started = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.launchers.append(started)
        return started

    def outcome(self, launcher: subprocess.Popen[str]) -> tuple[int, str]:
        """Code and line that a launcher says at its end."""
        out, err = launcher.communicate(timeout=90)
        assert out.strip(), err
        code, line = json.loads(out.splitlines()[-1])
        return code, line

    def seen(self, rank: int, attempt: int = 0) -> dict[str, str]:
        """The environment of a process."""
        return json.loads((self.folder / f"{rank}.{attempt}").read_text())


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(workers, "PRESS_SECONDS", 0.5)
    made = StandIn(tmp_path)
    yield made
    for one in made.launchers:
        one.kill()
        one.communicate()
