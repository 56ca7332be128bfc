"""What this operating system lacks, and what follows for runs: lines of `distillkit doctor`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from distillkit.disk import system


def lacks() -> Iterator[str]:
    """What is missing, and what follows."""
    missing = [name for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU") if not hasattr(signal, name)]
    if missing:
        yield f"no {', '.join(missing)}: a run saves and leaves at Ctrl-C and SIGTERM alone"
    if os.name == "nt":
        yield "to end a process is no signal that it could save at: what is lost goes back to the newest checkpoint"
    if not hasattr(os, "getuid"):
        yield "no owners of files: in a DISTILLKIT_HOME that several people share anybody's files are used"
    if not system.NOFOLLOW:
        yield "no O_NOFOLLOW: whether a file is a link is looked at a moment before it is opened"
    if not system.FOLDERS:
        yield "names in a folder cannot be forced to the disk: after a loss of power the newest checkpoint may be gone"
    if not hasattr(os, "sched_getaffinity"):
        yield "cores are those of the machine, not of this process: run.threads says how many to use"
    if sys.platform == "darwin":
        yield "fsync leaves data in the cache of the disk: after a loss of power the newest checkpoint may be gone"
        yield "GPUs of Apple are not used: they have no float64, which sums need"
    if not Path("/proc/meminfo").exists():
        yield "free memory is not told: `plan` compares with all of it, or with --memory"
