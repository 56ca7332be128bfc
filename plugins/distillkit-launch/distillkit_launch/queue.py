"""Jobs of submitit; each notes its exit code in a file, which needs no reader of pickles."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from attrs import define

from distillkit.api import Submitted, UsageError

AGAIN = (6, 75)  # a process was lost, saved after a signal: the same command goes on
POLL_SECONDS = 5.0  # between looks at a job
CANCELLED = 143  # the exit code of a job that ended without noting any


class Work:
    """What a job does: the command, on each of its machines; a signal goes on to it."""

    def __init__(self, command: list[str], noted: Path) -> None:
        self.command, self.noted = command, noted
        self.running: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        signal.signal(signal.SIGTERM, self._pass_on)
        # It saves and leaves when we end, also where we are killed: the pipe to it closes then.
        environment, pipe = os.environ | {"DISTILLKIT_ENDS_WITH_STDIN": "1"}, subprocess.PIPE
        with subprocess.Popen(self.command, stdin=pipe, env=environment, start_new_session=True) as self.running:
            code = self.running.wait()
        self.running = None
        if os.environ.get("SLURM_PROCID", "0") == "0" and not (code in AGAIN and requeued()):
            self.noted.write_text(str(code))
        return code

    def checkpoint(self) -> Any:
        """Before the job's time ends: the run saves, and submitit puts the job back into the queue."""
        from submitit.helpers import DelayedSubmission

        if self.running is not None:
            self.running.terminate()
            self.running.wait()
        return DelayedSubmission(Work(self.command, self.noted))

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self.running is not None:
            self.running.send_signal(number)


def requeued() -> bool:
    """Put this job back into the queue, unless somebody cancelled it: it is then no longer RUNNING."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return False
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    asked = ["squeue", "--noheader", f"--jobs={job}", "--format=%T"]
    state = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return state == "RUNNING" and subprocess.run(["scontrol", "requeue", job], check=False).returncode == 0


@define
class Job:
    """One in the queue."""

    job: Any
    noted: Path  # its exit code, once it has one
    log: Path
    looked: float = float("-inf")
    code: int | None = None

    @property
    def id(self) -> str:
        return str(self.job.job_id)

    def poll(self) -> int | None:
        """The exit code; None as long as it waits or runs."""
        if self.code is None and time.monotonic() - self.looked > POLL_SECONDS:
            self.looked = time.monotonic()
            over = self.job.done()
            self.code = self._noted()  # after that look: what ended has noted it
            if self.code is None and over:
                self.code = CANCELLED
        return self.code

    def _noted(self) -> int | None:
        try:
            return int(self.noted.read_text())
        except (OSError, ValueError):
            return None

    def terminate(self) -> None:
        """Cancel it: what runs saves and leaves, and does not go back into the queue."""
        self.job.cancel(check=False)

    def wait(self) -> int:
        """Wait for its end -> exit code."""
        while (code := self.poll()) is None:
            time.sleep(0.2)
        return code


def submit(commands: Sequence[Sequence[str]], logs: Path, executor: str, options: dict[str, Any]) -> list[Submitted]:
    """One job, or an array of them. Raises UsageError for what submitit refuses."""
    import submitit

    logs = logs.absolute()
    notes = [logs / f"{uuid.uuid4().hex}.exit" for _ in commands]
    works = [Work([*command], note) for command, note in zip(commands, notes, strict=True)]
    try:
        queue = submitit.AutoExecutor(folder=logs, cluster=executor)
        queue.update_parameters(tasks_per_node=1, **options)
        jobs = queue.submit_array(works) if len(works) > 1 else [queue.submit(works[0])]
    except (RuntimeError, ValueError, NameError, OSError, subprocess.CalledProcessError) as error:
        raise UsageError(f"submitit: {' '.join(str(error).split())[:300]}") from error
    return [Job(job, note, Path(job.paths.stdout)) for job, note in zip(jobs, notes, strict=True)]
