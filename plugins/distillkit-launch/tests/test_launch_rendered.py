"""What the launchers render, parsed back and compared with what the schedulers' documents ask for."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from distillkit.api import Launch, UsageError
from distillkit.recipe import choice_from_table
from distillkit.testing.toys import catalog

COMMAND = ["distillkit", "run", "my recipe.toml", "--set", "run.kimg=2"]
RUN = "distillkit run 'my recipe.toml' --set run.kimg=2"


def launcher(use: str, **keys: Any) -> Launch:
    made = choice_from_table("launch", {"use": use, **keys}, catalog(), where="test").build()
    assert isinstance(made, Launch)
    return made


def sbatch(text: str) -> tuple[dict[str, str], list[str]]:
    """Options and lines of a script."""
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash"
    options = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH ")]
    return {name: value for name, _, value in (option.partition("=") for option in options)}, [
        line for line in lines if not line.startswith("#")
    ]


def test_a_script_for_sbatch_asks_for_a_task_on_each_node_and_runs_the_command_there() -> None:
    made = launcher("slurm", partition="gpu", hours=2.0, setup=["source env"], sbatch=["--qos=long", "--exclusive"])
    options, lines = sbatch(made.render(COMMAND, 2, 8))
    assert options == {
        "job-name": "distillkit", "nodes": "2", "ntasks-per-node": "1", "gpus-per-node": "8", "cpus-per-task": "64",
        "time": "120", "partition": "gpu", "signal": "TERM@300", "open-mode": "append", "requeue": "", "qos": "long",
        "exclusive": "",
    }  # fmt: skip
    assert lines[:2] == ["source env", f"srun --kill-on-bad-exit=0 {RUN} --nproc 8"]


def test_a_run_on_a_cpu_asks_for_no_gpu() -> None:
    options, lines = sbatch(launcher("slurm").render(COMMAND, 1, 0))
    assert "gpus-per-node" not in options and "partition" not in options
    assert lines[0] == f"srun --kill-on-bad-exit=0 {RUN}"


@pytest.mark.parametrize(
    ("code", "state", "again"), [(6, "RUNNING", True), (75, "RUNNING", True), (75, "COMPLETING", False),
                                 (0, "RUNNING", False), (4, "RUNNING", False)],
)  # fmt: skip
@pytest.mark.parametrize("array", [False, True])
def test_the_script_puts_a_job_back_that_was_lost_or_has_saved_and_no_other(
    tmp_path: Path, code: int, state: str, again: bool, array: bool
) -> None:
    """With stand-ins for what SLURM brings."""
    for name, does in {"srun": f"exit {code}", "squeue": f"echo {state}", "scontrol": 'echo "$@" > told'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "job.sh").write_text(launcher("slurm").render(COMMAND, 1, 0))
    job = {"SLURM_JOB_ID": "11"} | ({"SLURM_ARRAY_JOB_ID": "10", "SLURM_ARRAY_TASK_ID": "3"} if array else {})
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "job.sh"], cwd=tmp_path, env=os.environ | path | job, check=False)
    assert done.returncode == code
    told = tmp_path / "told"
    assert told.exists() == again
    assert not again or told.read_text() == f"requeue {'10_3' if array else '11'}\n"


def test_a_pytorchjob_has_a_master_and_workers_which_find_each_other() -> None:
    made = launcher("kubeflow", image="r/d:1", name="sid-1", namespace="team", claim="disk", restarts=3)
    job = json.loads(made.render(COMMAND, 3, 8))
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    assert job["metadata"] == {"name": "sid-1", "namespace": "team"}
    assert job["spec"]["runPolicy"] == {"backoffLimit": 3}
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert {name: one["replicas"] for name, one in replicas.items()} == {"Master": 1, "Worker": 2}
    for one in replicas.values():
        assert one["restartPolicy"] == "OnFailure"
        pod = one["template"]["spec"]
        (container,) = pod["containers"]
        assert (container["name"], container["image"]) == ("pytorch", "r/d:1")
        assert container["resources"] == {"limits": {"nvidia.com/gpu": 8}}
        assert container["volumeMounts"] == [{"name": "runs", "mountPath": "/runs"}]
        assert pod["volumes"] == [{"name": "runs", "persistentVolumeClaim": {"claimName": "disk"}}]


@pytest.mark.parametrize(
    ("nodes", "place"), [(1, []), (2, ["--nnodes", "2", "--node-rank", "1", "--master", "m:29400"])]
)
def test_the_shell_of_a_pod_gets_the_command_line_that_it_should(nodes: int, place: list[str]) -> None:
    job = json.loads(launcher("kubeflow").render(COMMAND, nodes, 8))
    replicas = job["spec"]["pytorchReplicaSpecs"]
    (container,) = replicas["Worker" if nodes > 1 else "Master"]["template"]["spec"]["containers"]
    operator = {"RANK": "1", "WORLD_SIZE": str(nodes), "MASTER_ADDR": "m", "MASTER_PORT": "23456"}
    assert said(container["command"][-1], operator) == [*COMMAND[1:], "--nproc", "8", *place, "env:none"]


def test_a_task_of_skypilot_runs_on_each_node() -> None:
    task = json.loads(launcher("skypilot", accelerator="A100", cloud="aws", spot=True).render(COMMAND, 2, 4))
    run = task.pop("run")
    assert task == {
        "name": "distillkit", "num_nodes": 2, "workdir": ".", "setup": "pip install distillkit",
        "resources": {"accelerators": "A100:4", "cloud": "aws", "use_spot": True},
    }  # fmt: skip
    nodes = {"SKYPILOT_NODE_RANK": "1", "SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.5"}
    place = ["--nnodes", "2", "--node-rank", "1", "--master", "10.0.0.4:29400"]
    assert said(run, nodes) == [*COMMAND[1:], "--nproc", "4", *place, "env:none"]
    assert json.loads(launcher("skypilot", workdir="w").render(COMMAND, 1, 0))["resources"] == {}


def said(script: str, environment: dict[str, str]) -> list[str]:
    """What a stand-in for the command is given by a shell, and whether it would think that torchrun started it."""
    folder = Path.cwd() / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "distillkit").write_text('#!/bin/sh\nprintf "%s\\n" "$@" "env:${RANK:-none}"\n')
    (folder / "distillkit").chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"} | environment
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("use", ["kubeflow", "skypilot"])
def test_what_others_submit_is_not_submitted_here(use: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only renders what another tool submits: leave out --submit"):
        launcher(use).submit([COMMAND], 1, 0, tmp_path)


def test_the_lines_for_machines_by_hand_tell_them_apart() -> None:
    lines = [shlex.split(line, comments=True) for line in launcher("local").render(COMMAND, 2, 8).splitlines()]
    ends = [line[len(COMMAND) :] for line in lines]
    assert [line[: len(COMMAND)] for line in lines] == [COMMAND, COMMAND]
    assert ends[0] == ["--nproc", "8", "--nnodes", "2", "--master", "MACHINE-0:29400", "--node-rank", "0"]
    assert ends[1] == [*ends[0][:-1], "1"]
