"""The folder of one run: its number, its files, who uses it and how it ended."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from distillkit.api.errors import FULL, InputError, ResourceError, UsageError
from distillkit.disk import files, typed
from distillkit.disk.lock import held, mine
from distillkit.disk.remembered import instead

_NAME = re.compile(r"(\d{4,})-.+")
OF_THE_PLACE = ("threads", "sessions", "told")  # keys of run.json that a student's card has not: of machine and page
_AGAIN = (6, 75, 130, 143)  # exit codes after which the same command goes on


@frozen
class RunDir:
    """A run's folder; `info` is its run.json: fingerprint, recipe, created, versions."""

    path: Path
    info: dict[str, Any]

    @classmethod
    def create(
        cls, root: Path, name: str, fingerprint: str = "", versions: dict[str, str] | None = None, **facts: Any
    ) -> RunDir:
        """Make `root/NNNN-name` with the next free number, also when several processes do so at once.

        `facts` go to run.json too.
        """
        info = {
            "fingerprint": fingerprint,
            "recipe": name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions or {},
            **facts,
        }
        try:
            root.mkdir(parents=True, exist_ok=True)
            return cls(_reserve(root, name, info), info)
        except OSError as error:
            kind = ResourceError if error.errno in FULL else UsageError
            raise kind(f"cannot make a run folder in {root}: {error.strerror}; choose another place") from error

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """Open an existing run. Raises UsageError for what is no run folder, InputError for a damaged run.json."""
        if not os.path.lexists(path / "run.json"):
            raise UsageError(f"{path} is not a run folder: it has no run.json{instead(path)}")
        info = typed.json_object(path / "run.json")
        if not isinstance(info.get("fingerprint"), str):
            raise InputError(f"{path / 'run.json'} has no fingerprint")
        return cls(path, info)

    @property
    def fingerprint(self) -> str:
        """Hash of resolved recipe and plugin versions: the same for runs that compute the same."""
        return str(self.info["fingerprint"])

    @property
    def recipe(self) -> Path:
        """The recipe file as it was given, byte for byte."""
        return self.path / "recipe.toml"

    @property
    def resolved(self) -> Path:
        """The recipe with every default."""
        return self.path / "resolved.toml"

    @property
    def metrics(self) -> Path:
        """One line per tick and evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Folder of pictures."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def result(self) -> Path:
        """Folder of the finished student; made at the end."""
        return self.path / "result"

    @property
    def report(self) -> Path:
        """The page about the run."""
        return self.path / "report.html"

    @property
    def log(self) -> Path:
        """What was printed."""
        return self.path / "log.txt"

    @property
    def exit(self) -> Path:
        """How it ended."""
        return self.path / "exit.json"

    def lock(self, take_over: bool = False) -> AbstractContextManager[None]:
        """Be the only process that writes here, see `lock.held`; raises InUse when another one is."""
        return held(self.path, take_over)

    def note(self, key: str, value: Any) -> None:
        """Add a fact to run.json."""
        self.info[key] = value
        files.write_checked(self.path / "run.json", self.info)

    def note_recipes(self, texts: Mapping[str, str]) -> None:
        """Note in run.json what is in the recipes of the folder, by their names: others read them there."""
        self.note("recipes", {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()})

    def warn_of_changes(self) -> None:
        """Warn of recipes in the folder that are gone, or not as they were written."""
        noted = self.info.get("recipes")
        for name, digest in noted.items() if isinstance(noted, dict) else ():
            try:
                changed = files.sha256(self.path / name) != digest
            except OSError as error:
                warnings.warn(f"cannot read {self.path / name}: {error.strerror}", stacklevel=2)
            else:
                if changed:
                    warnings.warn(f"{self.path / name} is not as the run wrote it: it was changed", stacklevel=2)

    def check(self) -> None:
        """Raises InputError if the folder is gone: deleted, moved or replaced while it was in use."""
        if not mine(self.path):
            raise InputError(f"the run folder {self.path} is gone: it was deleted or moved while it was in use")

    def write_exit(self, code: int, reason: str, nimg: int, checkpoint: str | None, signs: Sequence[str] = ()) -> None:
        """Note how the run ended, wrappers lose exit codes; `signs`: of a collapse."""
        told = {"signs": list(signs)} if signs else {}
        files.write_checked(self.exit, {"code": code, "reason": reason, "nimg": nimg, "checkpoint": checkpoint, **told})

    @property
    def ended(self) -> bool:
        """Whether it has a result, be it of a run that collapsed."""
        return self.status() in ("finished", "collapsed")

    def signs(self) -> str:
        """The signs of a collapse that the run ended with, in a line."""
        told = typed.json_object(self.exit).get("signs")
        return "; ".join(typed.text(sign) for sign in told) if isinstance(told, list) else ""

    def status(self) -> str:
        """Tell how the run ended: "finished", "collapsed" (with a result, but not well), "diverged", "failed".

        "unfinished": it is under way, was killed, or is to be resumed.
        """
        if not os.path.lexists(self.exit):
            return "unfinished"
        end = typed.json_object(self.exit)
        code = end.get("code")
        if code in _AGAIN:
            return "unfinished"
        if type(code) is not int:
            raise InputError(f"{self.exit} has no exit code")
        if code == 0:
            return "collapsed" if end.get("reason") == "collapsed" else "finished"
        return "diverged" if code == 4 else "failed"


Known = Mapping[str, Sequence[tuple["RunDir", str]]]  # fingerprint -> runs with their status


def known(root: Path, collapsed: bool = False) -> Known:
    """All runs in `root` by their fingerprints: those to be used come first, which are finished or else the newest.

    `collapsed`: those that collapsed are called finished.
    """
    found: dict[str, list[tuple[RunDir, str]]] = {}
    for run, ended in _newest_first(root):
        status = "finished" if collapsed and ended == "collapsed" else ended
        found.setdefault(run.fingerprint, []).append((run, status))
    return {name: sorted(runs, key=lambda one: one[1] != "finished") for name, runs in found.items()}


def check_maker(file: Path, fingerprint: str) -> None:
    """Raises InputError where `file` lies in the result of another run than the one that made it: two were swapped."""
    run = file.parents[1] / "run.json"
    if file.parent.name != "result" or not run.is_file():
        return
    if typed.json_object(run).get("fingerprint") != fingerprint:
        raise InputError(f"{file} was made by another run than the one whose folder it is in")


def warn_of_collapse(file: Path) -> None:
    """Warn where `file` is of the result of a run that collapsed, or whose end cannot be read."""
    file = file.absolute()
    end = file.parents[1] / "exit.json"
    if file.parent.name != "result" or not os.path.lexists(end):
        return
    try:
        run = RunDir(end.parent, {})
        if run.status() == "collapsed":
            warnings.warn(f"{run.path} collapsed: {run.signs()}", stacklevel=2)
    except InputError as error:
        warnings.warn(str(error), stacklevel=2)


def _newest_first(root: Path) -> Iterator[tuple[RunDir, str]]:
    """Open the runs in `root` that can be read, with their status; warns of the others."""
    for path in reversed([path for path in folders(root) if not path.is_symlink()]):
        try:
            run = RunDir.open(path)
            status = run.status()
        except (InputError, UsageError) as error:
            warnings.warn(f"left out: {error}", stacklevel=3)
            continue
        yield run, status


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def folders(root: Path) -> list[Path]:
    """List the numbered folders in `root`, oldest first."""
    try:
        return sorted((path for path in root.iterdir() if _number(path)), key=_number)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"cannot look for runs in {root}: {error.strerror}; choose another place") from error


def _reserve(root: Path, name: str, info: dict[str, Any]) -> Path:
    """Take the next number by mkdir of `.new-NNNN`, and give the folder its name when it is complete."""
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "run"
    number = max(map(_number, folders(root)), default=0)
    while True:
        number += 1
        new = root / f".new-{number:04d}"
        try:
            new.mkdir()
        except FileExistsError:
            continue
        if any(_number(path) == number for path in folders(root)):  # taken between our look and our mkdir
            new.rmdir()
            continue
        for folder in ("samples", "checkpoints"):
            (new / folder).mkdir()
        files.write_checked(new / "run.json", info)
        path = root / f"{number:04d}-{label}"
        os.rename(new, path)
        files.fsync(root)
        return path
