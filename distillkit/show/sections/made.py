"""What the run was made with: command, commit, machine, time, versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillkit.show import formats
from distillkit.show.saved import Saved, sessions, table
from distillkit.show.sections import facts as of

SECONDS = 3600


def facts(run: Saved) -> str:
    """The newest session and the run, then versions, from run.json or else the recipe."""
    how, versions = of.table(_how(run), "How it was made"), _versions(run)
    return how + (f"\n<h3>Versions</h3>\n{of.table(versions, 'Versions')}" if versions else "")


def _how(run: Saved) -> dict[str, Any]:
    known = sessions(run)
    last = known[-1] if known else {}
    machine = table(last, "machine")
    cores = f", {machine['cores']} cores" if "cores" in machine else ""
    devices = last.get("devices")
    found = {
        "command": last.get("command"),
        "commit": f"{last['commit']}, checked out where the command was given" if "commit" in last else None,
        "device": machine.get("gpu") or ("CPU" if machine else None),
        "processor": f"{machine['processor']}{cores}" if "processor" in machine else None,
        "system": ", Python ".join(str(text) for text in (machine.get("system"), last.get("python")) if text),
        "processes": devices if devices != 1 else None,
        "threads": run.info.get("threads"),
        "sessions": _begun(known),
        "training": _time(run, devices),
        "fingerprint": run.info.get("fingerprint"),
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def _begun(known: list[dict[str, Any]]) -> str:
    """Where a run went on, and when."""
    if len(known) < 2:
        return ""
    begun = [f"{str(one.get('started', ''))[:16].replace('T', ' ')} at {_kimg(one)} kimg" for one in known]
    shown = begun if len(begun) <= 6 else [*begun[:1], "...", *begun[-4:]]
    return f"{len(known)}: {'; '.join(shown)}"


def _kimg(session: dict[str, Any]) -> str:
    nimg = session.get("nimg")
    return formats.kimg(nimg) if isinstance(nimg, int | float) else "?"


def _time(run: Saved, devices: Any) -> str:
    """Of training, evaluations and pictures aside, and what has a price."""
    seconds = run.scores.seconds or max((row.get("seconds", 0.0) for row in run.rows), default=0.0)
    if not isinstance(seconds, int | float) or not seconds:
        return ""
    text = f"{formats.duration(seconds)}, without evaluations and pictures"
    if type(devices) is not int:
        return text
    hours = seconds * devices / SECONDS
    return f"{text}; {formats.number(float(f'{hours:.2g}'))} device hours, times the price of an hour"


def _versions(run: Saved) -> Mapping[str, Any]:
    return table(run.info, "versions") or table(run.recipe, "made_with")
