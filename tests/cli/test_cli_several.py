"""`run --nproc N`: what is started, and what is refused before anything is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit import launch
from distillkit.cli import several
from distillkit.cli.main import main

Run = Callable[..., tuple[int, str]]
RECIPE = str(Path(__file__).parents[2] / "recipes" / "digits_sid.toml")
DONE = launch.Outcome(0)
TWO = "--nproc 2 --nnodes 2"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run(*arguments, gpus=0, **environment)` -> exit code and what was written to stderr; started: `run.tasks`."""
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str, gpus: int = 0, found: launch.Outcome = DONE, **environment: str):
        def start(task: launch.Task) -> launch.Outcome:
            call.tasks.append(task)
            return found

        monkeypatch.setattr(several, "gpus", lambda: gpus)
        monkeypatch.setattr(several.launch, "lead", start)
        monkeypatch.setattr(several.launch, "follow", start)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        code = main(["run", RECIPE, *arguments])
        return code, capsys.readouterr().err

    call.tasks = []
    return call


def test_the_processes_get_the_command_line_without_what_only_the_launcher_reads(run: Run) -> None:
    given = "--set run.kimg=2 --nproc 2 --restarts=3 --timeout 20 --runs there"
    assert run(*given.split()) == (0, "")
    (task,) = run.tasks
    assert task.command == [
        sys.executable,
        "-m",
        "distillkit",
        "run",
        RECIPE,
        *"--set run.kimg=2 --runs there".split(),
    ]
    assert (task.nproc, task.nnodes, task.node, task.restarts, task.timeout) == (2, 1, 0, 3, 20.0)


def test_a_short_form_of_an_option_is_left_out_too(run: Run) -> None:
    assert run("--npr", "2", "--rest", "1", "--again")[0] == 0
    assert run.tasks[0].command[-1] == "--again"
    assert len(run.tasks[0].command) == 6


def test_nodes_are_named_by_rank_and_master(run: Run) -> None:
    assert run("--nproc", "8", "--nnodes", "4", "--node-rank", "2", "--master", "n0:29400")[0] == 0
    (task,) = run.tasks
    assert (task.nnodes, task.node, task.master, task.timeout) == (4, 2, ("n0", 29400), 300.0)


def test_under_srun_with_a_task_on_each_node_nothing_need_be_named(run: Run) -> None:
    srun = {"SLURM_STEP_ID": "0", "SLURM_NNODES": "2", "SLURM_NTASKS": "2", "SLURM_NODEID": "1", "SLURM_PROCID": "1",
            "SLURM_JOB_NODELIST": "n[3-4]", "SLURM_JOB_ID": "5"}  # fmt: skip
    assert run("--nproc", "8", **srun)[0] == 0
    assert (run.tasks[0].nnodes, run.tasks[0].node, run.tasks[0].master) == (2, 1, ("n3", 20_035))


def test_on_the_cpu_there_may_be_more_processes_than_gpus(run: Run) -> None:
    assert run("--nproc", "8", "--set", 'run.device="cpu"', gpus=4)[0] == 0
    assert run.tasks[0].environment == {"CUDA_VISIBLE_DEVICES": ""}  # else each would look for one of its own


def test_one_process_for_each_gpu(run: Run) -> None:
    assert run("--nproc", "gpu", gpus=4)[0] == 0
    assert run.tasks[0].nproc == 4


@pytest.mark.parametrize(
    ("given", "gpus", "environment", "told"),
    [
        ("--nproc 8", 4, {}, "--nproc 8, but torch sees 4 GPUs here"),
        ("--nproc gpu", 0, {}, "--nproc gpu, but torch sees no GPU here: give a number"),
        ("--nproc 2 --smoke", 0, {}, "--smoke tries the wiring in one process: take away --nproc"),
        ("--nnodes 2", 0, {}, "--nnodes goes with --nproc"),
        ("--restarts 2", 0, {}, "--restarts goes with --nproc"),
        (TWO, 0, {}, "--nnodes goes with --node-rank K, from 0, and --master HOST:PORT of machine 0"),
        (f"{TWO} --node-rank 2 --master a:1", 0, {}, "--node-rank 2, but --nnodes 2: ranks are from 0 to 1"),
        ("", 0, {"RANK": "0"}, "RANK is set but WORLD_SIZE is not: start with --nproc, or unset it"),
        (
            "--nproc 2", 0, {"RANK": "0", "WORLD_SIZE": "8", "MASTER_ADDR": "a", "MASTER_PORT": "1"},
            "already one of 8 processes: take away --nproc",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_and_exit_code_2(run: Run, given, gpus, environment, told) -> None:
    assert run(*given.split(), gpus=gpus, **environment) == (2, f"error: {told}\n")
    assert run.tasks == []


@pytest.mark.parametrize("given", ["--nproc 0", "--nproc two", "--nproc 2 --master a", "--nproc 2 --timeout -1"])
def test_values_that_are_none_are_refused_by_the_command_line(run: Run, given: str) -> None:
    code, told = run(*given.split())
    assert (code, "Traceback" in told) == (2, False)


def test_how_it_ended_is_a_line_unless_rank_0_has_said_it(run: Run) -> None:
    assert run("--nproc", "2", found=launch.Outcome(6, "rank 1 is gone")) == (6, "error: rank 1 is gone\n")
    assert run("--nproc", "2", found=launch.Outcome(4, "rank 0: diverged", said=True)) == (4, "")
