"""A run that is killed at random moments, while it saves and evaluates too, and goes on: it ends in the same bits.

`python -m tests.chaos kills --n 200`. The signals are SIGKILL, and those by which schedulers and people ask a run to
stop; they come after a random time, or at a random call to the disk.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.chaos import base
from tests.chaos.base import STUDENT, TEACHER, WHOLE, command, inside

ASKING = ("SIGTERM", "SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU")
CALLS = ("open", "mkdir", "fsync", "rename", "replace", "unlink", "rmdir", "write")  # of os; pathlib calls them too
MOST = 3  # kills of one run
SHARED = "kills-shared"
ARGV = ("run", "student.toml", "--runs", "runs")


def prepare(folder: Path) -> None:
    """Make the runs, and note how long the student takes and how often it calls the disk."""
    base.make(folder)
    if (folder / "whole.json").exists():
        return
    place = begin(folder, folder / "counted")
    calls, start = [0], time.perf_counter()
    with inside(place, place / "home"):
        status = wait(fork(lambda: counting(calls, place / "calls")), None)
    assert status == 0, (place / "said").read_text(encoding="utf-8")
    whole = {"seconds": time.perf_counter() - start, "calls": int((place / "calls").read_text(encoding="utf-8"))}
    (folder / "whole.json").write_text(json.dumps(whole), encoding="utf-8")


def begin(shared: Path, folder: Path) -> Path:
    """A folder with the recipes, the cache and a finished teacher."""
    shutil.copytree(shared / "home", folder / "home")
    shutil.copytree(shared / WHOLE / TEACHER, folder / "runs" / TEACHER)
    for recipe in shared.glob("*.toml"):
        shutil.copy(recipe, folder)
    return folder


def trial(seed: int, folder: Path) -> str | None:
    """Kill a run one to three times, go on each time -> None, or what was not as in a run that nobody killed."""
    shared = folder.parent / SHARED
    prepare(shared)
    whole = json.loads((shared / "whole.json").read_text(encoding="utf-8"))
    place, dice = begin(shared, folder / "place"), random.Random(f"kills {seed}")
    killed = []
    with inside(place, place / "home"):
        for _ in range(dice.randint(1, MOST)):
            name = dice.choice(("SIGKILL", dice.choice(ASKING)))
            if dice.random() < 0.6:
                delay = dice.random() * whole["seconds"]
                status, how = wait(fork(lambda: None), (delay, name)), f"{name} after {delay:.3f} s"
            else:
                call = dice.randint(1, whole["calls"])
                status, how = wait(fork(partial(deadly, call, name)), None), f"{name} at call {call}"
            killed.append(f"{how}: {status}")
            number = signal.Signals[name]  # before anything is trained it ends the command as it would any other
            if status not in (0, 75, -number, 128 + number):
                return f"{'; '.join(killed)}: {last_words()}"
        status = wait(fork(lambda: None), None)
    (folder / "outcome").write_text(f"{sum(not one.endswith(': 0') for one in killed)} kills", encoding="utf-8")
    if status != 0:
        return f"{'; '.join(killed)}; then exit code {status}: {last_words()}"
    wrong = differences(shared / WHOLE / STUDENT, place / "runs" / STUDENT)
    return f"{'; '.join(killed)}: {wrong}" if wrong else None


def last_words() -> str:
    return Path("said").read_text(encoding="utf-8")[-300:]


def fork(arm: Callable[[], object]) -> int:
    """Start the command line in a process of its own, armed by `arm` -> its id."""
    if pid := os.fork():
        return pid
    said = None
    try:
        signal.alarm(0)
        arm()
        said = command(*ARGV)
        with open("said", "w", encoding="utf-8") as file:
            file.write(said.out + said.err)
    finally:
        os._exit(99 if said is None else said.code)


def wait(pid: int, kill: tuple[float, str] | None) -> int:
    """Wait for a process, sent a signal after a delay -> its exit code, or minus the signal that ended it."""
    if kill is not None:
        delay, name = kill
        deadline = time.perf_counter() + delay
        while time.perf_counter() < deadline:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        os.kill(pid, signal.Signals[name])
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def deadly(call: int, name: str) -> None:
    """From now on the call of that number to the disk brings the signal, before it is made or after."""
    left, after = [call], call % 2 == 0

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            now = left[0] == 0
            if now and not after:
                os.kill(os.getpid(), signal.Signals[name])
            try:
                return function(*args, **options)
            finally:
                if now and after:
                    os.kill(os.getpid(), signal.Signals[name])

        return run

    for each in CALLS:
        setattr(os, each, watched(getattr(os, each)))


def counting(calls: list[int], path: Path) -> None:
    """From now on calls to the disk are counted; the number so far stands in a file."""
    made = os.open(path, os.O_WRONLY | os.O_CREAT)
    write = os.pwrite

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            calls[0] += 1
            write(made, str(calls[0]).encode(), 0)
            return function(*args, **options)

        return run

    for each in CALLS:
        setattr(os, each, watched(getattr(os, each)))


def differences(whole: Path, run: Path) -> str:
    """What of a run is not as in one that was not killed; "" where nothing is."""
    ours, theirs = computed(run), computed(whole)
    wrong = [name for name in theirs if ours.get(name) != theirs[name]]
    left = [path.name for path in run.rglob("*") if path.name.startswith((".tmp", ".old", "damaged"))]
    left += [path.name for path in run.parent.glob("[!.]*") if path.name not in (TEACHER, STUDENT)]
    left += [path.name for path in run.parent.glob(".new-*")]
    return ", ".join([*(f"{name} differs" for name in wrong), *(f"{name} is left" for name in left)])


def computed(run: Path) -> dict[str, Any]:
    """All that a finished run computed, without what a clock says."""
    checkpoints = sorted((run / "checkpoints").glob("kimg-*"))
    found: dict[str, Any] = {path.name: path.read_bytes() for path in checkpoints[-1].glob("*.safetensors")}
    meta = json.loads((checkpoints[-1] / "state.json").read_text(encoding="utf-8"))
    scores = json.loads((run / "result" / "metrics.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    clock = {"seconds": 0, "img_per_sec": 0, "check": ""}
    return {
        **found, "meta": {**meta, "seconds": 0, "tick_from": meta["tick_from"][0]},
        "checkpoints": (len(checkpoints), checkpoints[-1].name),  # a signal saves one of its own
        "student": (run / "result" / "student.safetensors").read_bytes(),
        "metrics.json": {**scores, "seconds": 0}, "exit.json": (run / "exit.json").read_bytes(),
        "rows": [{key: clock.get(key, value) for key, value in row.items()} for row in rows],
    }  # fmt: skip
