"""Who runs what: of several starts of one recipe one makes or finds the run and holds it; the others wait or leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen
from filelock import FileLock

from distillkit.api import InputError, ResourceError, UsageError
from distillkit.disk import files
from distillkit.disk.lock import InUse
from distillkit.disk.rundir import RunDir
from distillkit.show.screen import Screen

POLL = 1.0  # seconds


@frozen
class Claim:
    """A run that is ours, or one that is finished and nobody's."""

    run: RunDir
    new: bool  # made by us, just now


@contextmanager
def claimed(
    find: Callable[[], RunDir | None], make: Callable[[], RunDir], runs: Path, screen: Screen,
    wait: bool = False, take_over: bool = False,
) -> Iterator[Claim]:  # fmt: skip
    """The run that `find` gives, else that `make` makes, locked unless it is finished.

    Where another process has it: InUse, or with `wait` what has become of it. A new run that was refused before it
    trained anything is deleted again.
    """
    with ExitStack() as stack:
        told = False
        while True:
            try:
                claim = _try(find, make, runs, stack, take_over)
                break
            except InUse as error:
                if not wait:
                    raise
                if not told:
                    screen.line(str(error).partition(": wait for it")[0] + ": waiting for it")
                told = True
                time.sleep(POLL)
        try:
            yield claim
        except (UsageError, InputError, ResourceError):
            if claim.new and not claim.run.metrics.exists():  # nothing worth a folder; it is ours, we hold its lock
                files.remove(claim.run.path)
            raise


def _try(
    find: Callable[[], RunDir | None], make: Callable[[], RunDir], runs: Path, stack: ExitStack, take_over: bool
) -> Claim:
    """One look; looking, making and locking are one act among all starts in `runs`."""
    starting = FileLock(runs / ".starting")
    try:
        runs.mkdir(parents=True, exist_ok=True)
        starting.acquire()
    except OSError as error:
        raise UsageError(f"cannot make a run folder in {runs}: {error.strerror}; choose another place") from error
    try:
        for left in runs.glob(".new-*"):  # of a process that was killed: all that makes runs holds this lock
            files.remove(left)
        found = find()
        run = found or make()
        if not run.ended:
            stack.enter_context(run.lock(take_over))
        return Claim(run, found is None)
    finally:
        starting.release()
