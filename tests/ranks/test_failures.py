"""What happens to a run on two processes as one of them fails; tests/ranks/failures.py tries more of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ranks
ROOT = Path(__file__).parents[2]
# A stranger's method: SiD, but for one rank in one iteration.
ILL = """
import os
import torch
from distillkit.api import hookimpl
from distillkit_sid.sid import Sid

class Ill(Sid):
    "SiD that runs out of memory on one rank."

    @hookimpl
    def generator_loss(self, state, step, teacher_score):
        if os.environ.get("RANK") == os.environ["ILL_RANK"] and step.nimg == 1920:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")
        return super().generator_loss(state, step, teacher_score)
"""


def tried(*arguments: str) -> str:
    """What the script says, where it found nothing wrong."""
    command = [sys.executable, "-m", "tests.ranks.failures", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find a process by its rank")
def test_a_stopped_first_rank_ends_the_run_in_time() -> None:
    said = tried("stop", "--rank", "0")
    assert "exit 6 after" in said and "rank 0 (host " in said


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find a process by its rank")
def test_a_cut_link_ends_the_run_on_both_machines_in_time() -> None:
    said = tried("cut")
    if said.startswith("skipped: "):
        pytest.skip(said.removeprefix("skipped: ").strip())
    assert "node 0 exit 6" in said and "node 1 exit 6" in said


@pytest.mark.parametrize("rank", [0, 1])
def test_what_one_rank_alone_raises_is_told_by_the_run(jobs, start, tmp_path: Path, rank: int) -> None:
    info = tmp_path / "site" / "distillkit_ill-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: distillkit-ill\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[distillkit.generator_loss]\nill = distillkit_ill:Ill\n")
    (info.parent / "distillkit_ill.py").write_text(ILL)
    path = os.pathsep.join([str(info.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {"PYTHONPATH": path, "ILL_RANK": str(rank)}
    job = start(jobs.recipe(tmp_path, loss="ill"), tmp_path / "runs", "--nproc", "2", "--timeout", "60", env=env)
    code, said = job.end(50)  # long before the timeout
    assert code == 5, said
    told = jobs.exit_of(job.run)
    assert "Tried to allocate 3.00 GiB" in told["reason"] and told["code"] == (5 if rank == 0 else 6), told
    assert "Tried to allocate 3.00 GiB" in said and "Traceback" not in said


def test_a_second_start_of_the_same_run_is_refused_by_all_of_its_processes(jobs, start, tmp_path: Path) -> None:
    path = jobs.recipe(tmp_path, kimg=1000)
    first = start(path, tmp_path / "runs", "--nproc", "2")
    first.training()
    code, said = start(path, tmp_path / "runs", "--nproc", "2").end()
    assert code == 2 and str(first.ranks()[0]) in said, said
    assert said.count("error: ") == 1


def test_a_full_disk_ends_all_of_them_with_5(jobs, start, tmp_path: Path) -> None:
    limited = ["bash", "-c", 'ulimit -f 4; exec "$@"', "-"]  # 4 KiB a file: a checkpoint is larger
    job = start(jobs.recipe(tmp_path), tmp_path / "runs", "--nproc", "2", wrap=limited)
    code, said = job.end()
    assert code == 5 and said.count("error: ") == 1, said
