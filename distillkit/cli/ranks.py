"""`doctor --nproc N`: can processes, here and on other machines, work together? They are started and tried."""

from __future__ import annotations

import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distillkit import launch
from distillkit.cli import several

SECONDS = 60.0  # that they may be silent
SLOW = 0.2  # GB/s
APART = 1.0  # seconds between clocks
Finding = tuple[str, str, str]  # state, name, text


def elsewhere(args: Namespace) -> bool:
    """Whether this machine is not the first, which tells what was found."""
    return _task(args, Path("unused")).node > 0


def follow(args: Namespace) -> int:
    """On machines but the first: start what is tried -> exit code."""
    found = launch.follow(_task(args, Path("unused")))
    if found.line:
        print(f"error: {found.line}", file=sys.stderr)
    return found.code


def look(args: Namespace) -> Iterator[Finding]:
    """Start and try them, and tell what was found."""
    with tempfile.TemporaryDirectory(prefix="distillkit-doctor-") as folder:
        told = Path(folder, "told.json")
        found = launch.lead(_task(args, told))
        if found.code or not told.is_file():
            yield "broken", "ranks", found.line or f"exit code {found.code}"
            return
        yield from findings(json.loads(told.read_text(encoding="utf-8")), args.runs)


def _task(args: Namespace, told: Path) -> launch.Task:
    args.timeout = args.timeout or SECONDS
    command = [sys.executable, "-m", "distillkit.train.ranks.probe", str(args.runs.absolute()), str(told)]
    return several.task_of(args, command)


def findings(told: dict[str, Any], runs: Path) -> Iterator[Finding]:
    """What the processes told: hosts, backend, gb_per_s, clocks, sees; by rank."""
    hosts = list(dict.fromkeys(told["hosts"]))
    yield "ok", "ranks", f"{len(told['hosts'])} processes on {', '.join(hosts)}; {told['backend']}"
    speed = told["gb_per_s"]
    slow = "" if speed >= SLOW else f": slower than {SLOW} GB/s, so large networks will wait for each other"
    yield "warn" if slow else "ok", "wire", f"sums of all processes: {speed:.2f} GB/s{slow}"
    late = max(told["clocks"], key=abs)
    host = told["hosts"][told["clocks"].index(late)]
    far = f"{host} is {late:+.1f} s from {told['hosts'][0]}: times in logs will not fit"
    yield ("warn", "clocks", far) if abs(late) > APART else ("ok", "clocks", f"within {abs(late):.3f} s")
    blind = list(dict.fromkeys(host for host, sees in zip(told["hosts"], told["sees"], strict=True) if not sees))
    if not told["wrote"]:
        yield "warn", "shared", f"{runs}: nothing can be written there, so it is not known who sees it"
    elif blind:
        alone = "one process writes, so a run goes on without; shards need a file system that all see"
        yield "warn", "shared", f"{', '.join(blind)} does not see {runs}: {alone}"
    else:
        yield "ok", "shared", f"{runs}: all see one file system"
