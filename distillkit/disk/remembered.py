"""Runs by what people remember of them: a number, or how the name begins."""

from __future__ import annotations

import re
from pathlib import Path

from distillkit.api.errors import UsageError

ROOT = Path("runs")


def run_of(text: str, root: Path = ROOT) -> Path:
    """The path, or the one run below `root` that has this number or whose name begins so.

    Raises UsageError where several do, and for a number that none has.
    """
    if not re.fullmatch(r"\w[\w.-]*", text) or Path(text).exists():
        return Path(text)
    found = [path for path in sorted(root.glob("[0-9]*-*")) if named(path.name, text)]
    if len(found) > 1:
        some = ", ".join(path.name for path in found[:3]) + (", ..." if len(found) > 3 else "")
        raise UsageError(f"{text!r} may be {len(found)} runs of {root}: {some}")
    if not found and text.isdecimal():
        raise UsageError(f"no run {text} in {root}; {there(root)}")
    return found[0] if found else Path(text)


def is_run(path: Path, root: Path = ROOT) -> bool:
    """Is it the folder of a run, or the name or number of one below `root` and nothing else?"""
    if (path / "run.json").is_file() or (not path.exists() and (root / path / "run.json").is_file()):
        return True
    text = str(path)
    return text.isdecimal() and not path.exists() and any(named(one.name, text) for one in root.glob("[0-9]*-*"))


def there(root: Path = ROOT) -> str:
    """Which runs there are, the newest ones, for who named another."""
    found = sorted((path.name for path in root.glob("[0-9]*-*")), reverse=True)
    return f"there are {', '.join(found[:4])}" + ", ..." * (len(found) > 4) if found else "nothing was run here yet"


def instead(path: Path) -> str:
    """What may be meant by a path that is no run's, for the end of a message; "": nobody knows."""
    if path.suffix == ".toml" and path.is_file():
        return f"; it is a recipe: distillkit run {path}"
    if not path.exists():
        return f"; {there()}" if any(ROOT.glob("[0-9]*-*")) else ""
    within = sorted(one.parent for one in path.glob("[0-9]*-*/run.json"))
    return f"; it is a folder of runs: name one, such as {within[-1]}" if within else ""


def named(name: str, text: str) -> bool:
    """Is a run folder of this name called so: "3", "0003", "0003-dig" or "digits_sid"?"""
    number, _, recipe = name.partition("-")
    if text.isdecimal():
        return int(text) == int(number)
    return name.startswith(text) or recipe == text
