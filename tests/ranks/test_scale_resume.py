"""SCALE-2: a run that is stopped and goes on with another number of processes is the run of one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.ranks


def student(run: Path) -> torch.Tensor:
    """All weights [P] of the student and of its average."""
    loaded = load_file(run / "result" / "student.safetensors")
    return torch.cat([loaded[name].flatten() for name in sorted(loaded)])


def test_one_two_four_and_one_processes_in_turn_are_one(jobs, start, tmp_path: Path) -> None:
    path = jobs.recipe(tmp_path, kimg=12.8)
    exact = ["--set", 'run.precision="fp64"']  # of losses near 0, float32 tells sizes apart
    alone = start(path, tmp_path / "alone", *exact)
    for size, nimg in ((1, 1280), (2, 3840), (4, 6400), (1, 0)):
        job = start(path, tmp_path / "runs", *exact, *(["--nproc", str(size)] if size > 1 else []))
        if nimg:
            job.until(lambda: job.nimg() >= nimg)  # noqa: B023
            os.kill(job.process.pid, signal.SIGTERM)
        code, said = job.end()
        assert code == (75 if nimg else 0), said
        if nimg:
            assert nimg <= jobs.exit_of(job.run)["nimg"] < 12_800, "it was too late"
    assert alone.end()[0] == 0
    want, found = student(alone.run), student(job.run)
    assert float((found - want).norm() / want.norm()) < 1e-4
    rows, told = (jobs.rows_of(run / "metrics.jsonl") for run in (alone.run, job.run))
    assert [(row["what"], row["nimg"]) for row in told] == [(row["what"], row["nimg"]) for row in rows]
    assert [losses(row) for row in told] == [pytest.approx(losses(row), rel=1e-3) for row in rows]


def losses(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name.startswith(("loss/", "grad_norm/", "weight/"))}
