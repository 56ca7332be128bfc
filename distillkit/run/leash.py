"""A process that ends with the one that started it, however that ends: a pipe whose other end closes says so."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

BY_INPUT = os.name == "nt"  # whether a signal from another process ends this one before it can save
ASKED = "DISTILLKIT_ENDS_WITH_STDIN"  # set by who holds the other end of our standard input


def environment() -> dict[str, str]:
    """For the process to be started, beside a pipe as its standard input that is never written to."""
    return {ASKED: "1"}


def obey() -> None:
    """Where it was asked for: once standard input ends, this process gets SIGTERM, so it saves and leaves."""
    if os.environ.pop(ASKED, ""):  # popped: it is not for processes that we start
        threading.Thread(target=_watch, daemon=True, name="leash").start()


def _watch() -> None:
    while os.read(0, 1024):
        pass
    if BY_INPUT:
        signal.raise_signal(signal.SIGTERM)  # the main thread's handler takes it; sent, it would end us
    else:
        os.kill(os.getpid(), signal.SIGTERM)  # to the whole process, so that what the main thread waits in ends


def ask(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    """Ask a process that obeys to save and leave: by a signal or, where that ends it, by the end of its input."""
    if BY_INPUT and process.stdin is not None:
        process.stdin.close()
    else:
        process.send_signal(number)
