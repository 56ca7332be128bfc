"""SLURM: a script for sbatch, and jobs through submitit."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from distillkit.api import Launch, Submitted, UsageError, field, frozen, ge

MINUTES = 60
# After a loss (6) and after saving (75) the job goes on; not where somebody cancelled it: it is then no longer RUNNING.
AGAIN = """\
code=$?
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}}
job=${job:-$SLURM_JOB_ID}
if [ "$code" = 6 ] || [ "$code" = 75 ]; then
  if [ "$(squeue --noheader --jobs="$job" --format=%T)" = RUNNING ]; then scontrol requeue "$job"; fi
fi
exit "$code"
"""


class Slurm(Launch):
    """SLURM: a script for sbatch; submits through submitit, a study as arrays of jobs."""

    @frozen(kw_only=True)
    class Config:
        name: str = "distillkit"  # of the job
        partition: str | None = None  # such as "gpu"; unset: the cluster's own
        account: str | None = None  # who pays
        hours: float = field(default=24.0, validator=ge(0.1))  # of one job; a run goes on in the next
        cpus: int = field(default=8, validator=ge(1))  # cores for each GPU
        warning: int = field(default=300, validator=ge(30))  # seconds before the end at which a run saves and leaves
        setup: tuple[str, ...] = ()  # lines before the command, such as "source .venv/bin/activate"
        sbatch: tuple[str, ...] = ()  # more options, such as "--qos=long"
        executor: Literal["slurm", "local"] = "slurm"  # "local": as processes here, to try what a job does

    def render(self, command: Sequence[str], nodes: int, gpus: int) -> str:
        """A script for sbatch."""
        c = self.config
        options = {
            "job-name": c.name, "nodes": nodes, "ntasks-per-node": 1, "gpus-per-node": gpus or None,
            "cpus-per-task": c.cpus * max(1, gpus), "time": round(c.hours * MINUTES), "partition": c.partition,
            "account": c.account, "signal": f"TERM@{c.warning}", "open-mode": "append",
        }  # fmt: skip
        lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
        lines += ["#SBATCH --requeue", *(f"#SBATCH {option}" for option in c.sbatch)]
        run = f"srun --kill-on-bad-exit=0 {shlex.join(self.processes(command, nodes, gpus))}"
        return "\n".join(["#!/bin/bash", *lines, *c.setup, run, AGAIN])

    def submit(self, commands: Sequence[Sequence[str]], nodes: int, gpus: int, logs: Path) -> list[Submitted]:
        """Jobs of submitit: one, or an array. Raises UsageError where submitit or SLURM is missing."""
        if importlib.util.find_spec("submitit") is None:
            raise UsageError("submitting to SLURM needs submitit: pip install 'distillkit-launch[slurm]'")
        from distillkit_launch import queue

        c = self.config
        options = {
            "name": c.name, "nodes": nodes, "gpus_per_node": gpus, "cpus_per_task": c.cpus * max(1, gpus),
            "timeout_min": round(c.hours * MINUTES), "slurm_partition": c.partition, "slurm_account": c.account,
            "slurm_signal_delay_s": c.warning, "slurm_setup": list(c.setup) or None,
            "slurm_additional_parameters": {"requeue": True, **_options(c.sbatch)},
        }  # fmt: skip
        given = {name: value for name, value in options.items() if value is not None}
        return queue.submit([self.processes(command, nodes, gpus) for command in commands], logs, c.executor, given)


def _options(texts: Sequence[str]) -> dict[str, object]:
    """Options of sbatch, as submitit takes them: "--qos=long" -> {"qos": "long"}."""
    parts = [text.removeprefix("--").partition("=") for text in texts]
    return {name: value if equals else True for name, equals, value in parts}
