"""How one process of several ends: with its exit code, whatever torch's threads do meanwhile."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress


class Ending:
    """Made before anything else registers: what it does comes last, when all others have cleaned up.

    Threads that wait in torch's C++ abort the process where Python ends under them (SIGABRT), after a run that was
    done and in place of the code of one that failed.
    """

    def __init__(self) -> None:
        self.code: int | None = None  # None: not known, and nothing is done
        atexit.register(self._end)

    def _end(self) -> None:
        if self.code is None or "RANK" not in os.environ:
            return
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the reader has left, or it is closed
                stream.flush()
        os._exit(self.code)
