"""What a session of a run was: when, by which command, where, from which commit; for the run's page alone."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from distillkit.api import AuxiliaryLoss, GeneratorLoss
from distillkit.api.curves import of
from distillkit.disk.rundir import RunDir
from distillkit.evaluate import evaluation
from distillkit.train.state import State

SESSIONS, TOLD = "sessions", "told"  # keys of run.json, of which no fingerprint and no card knows
MOST = 50  # sessions that are kept: the first, and the newest
SHOWN = 1000  # characters of a command


def note(run: RunDir, state: State) -> None:
    """Add this session to run.json, and what metrics and curves mean, so that a page needs no plugin to tell it."""
    facts = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "nimg": state.nimg,
        "command": command(sys.argv),
        "commit": commit(Path.cwd()),
        "machine": machine(state.device),
        "devices": state.ranks.size,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }
    known = run.info.get(SESSIONS)
    earlier = known if isinstance(known, list) else []
    if len(earlier) >= MOST:
        earlier = [earlier[0], *earlier[2 - MOST :]]
    run.info[TOLD] = {"metrics": evaluation.told(state), "curves": curves(state)}
    try:
        run.note(SESSIONS, [*earlier, {key: value for key, value in facts.items() if value != ""}])
    except OSError as error:  # a full disk ends no run before it must
        warnings.warn(f"cannot write {run.path / 'run.json'}: {error.strerror}", stacklevel=2)


def curves(state: State) -> dict[str, str]:
    """What the run's losses say of what they log; the method has the last word."""
    parts = [part for part in state.components.values() if isinstance(part, GeneratorLoss | AuxiliaryLoss)]
    parts.sort(key=lambda part: part.kind == "auxiliary_loss")
    return {name: text for part in reversed(parts) for name, text in of(part).items()}


def command(argv: list[str]) -> str:
    """The command line, if it was one of ours; else "": a program or a notebook asked for the run."""
    at = Path(argv[0] if argv else "")
    ours = at.stem == "distillkit" or (at.name == "__main__.py" and at.parent.name == "distillkit")
    return shlex.join(["distillkit", *argv[1:]])[:SHOWN] if ours else ""


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, cores, system and GPU; no names of hosts or people."""
    found = {"system": f"{platform.system()} {platform.machine()}", "processor": processor()}
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {key: value for key, value in {**found, "cores": os.cpu_count() or 1, "gpu": gpu}.items() if value}


def processor() -> str:
    """Its name, as far as the system tells it."""
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.M)
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor()


def commit(folder: Path) -> str:
    """The commit that git has checked out where the command was given; "": none. Read, nothing is run."""
    try:
        root = next(each for each in (folder, *folder.parents) if (each / ".git").exists())
        git = root / ".git"
        if git.is_file():  # a work tree beside the repository
            git = root / git.read_text().removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text().strip()
        common = git / (git / "commondir").read_text().strip() if (git / "commondir").is_file() else git
        name = head.removeprefix("ref: ")
        found = head if name == head else _of_branch(common, name)
    except (OSError, ValueError, StopIteration):
        return ""
    return found if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", found) else ""


def _of_branch(git: Path, name: str) -> str:
    if (git / name).is_file():
        return (git / name).read_text().strip()
    lines = (git / "packed-refs").read_text().splitlines()
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), "")
