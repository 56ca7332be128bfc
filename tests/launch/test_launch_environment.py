"""What the environment says of the other processes: torchrun's variables, srun's, or none."""

from __future__ import annotations

import pytest

from distillkit.api import UsageError
from distillkit.launch import alone, joined, nodes_of_slurm
from distillkit.launch.environment import first_host
from distillkit.launch.interface import interface

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1234"}
SRUN = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_NNODES": "2", "SLURM_NODEID": "1", "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "gpu[07-09,12],cpu1",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
}  # fmt: skip


def test_without_any_variable_this_is_a_process_alone() -> None:
    assert joined({}) is False
    assert joined({"MASTER_ADDR": "a", "MASTER_PORT": "1"}) is False  # some profiles set them for everything


def test_with_all_that_torchrun_sets_this_is_one_of_several() -> None:
    assert joined(dict(TORCHRUN)) is True


@pytest.mark.parametrize("name", TORCHRUN)
def test_half_of_it_is_refused_with_what_is_missing(name: str) -> None:
    there = "WORLD_SIZE" if name == "RANK" else "RANK"
    with pytest.raises(UsageError, match=f"{there} is set but {name} is not: start with --nproc, or unset it"):
        joined({k: v for k, v in TORCHRUN.items() if k != name})


@pytest.mark.parametrize("wrong", [{"RANK": "x"}, {"RANK": "4"}, {"WORLD_SIZE": "-1"}, {"RANK": ""},
                                   {"MASTER_PORT": "abc"}, {"MASTER_PORT": "99999"}, {"LOCAL_RANK": "z"}])  # fmt: skip
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"RANK|WORLD_SIZE|MASTER_PORT"):
        joined(TORCHRUN | wrong)


def test_a_task_of_srun_gets_what_torch_asks_for() -> None:
    environ = SRUN | {"SLURM_NTASKS": "6", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}
    environ["SLURM_STEP_TASKS_PER_NODE"] = "4,2"
    assert joined(environ) is True
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
    assert [environ[name] for name in names] == ["5", "6", "1", "2", "gpu07"]
    assert environ["MASTER_PORT"] == str(20_000 + 7 * 4711 % 12_000)


def test_one_task_of_srun_and_a_batch_script_are_processes_alone() -> None:
    assert joined(SRUN | {"SLURM_NTASKS": "1"}) is False
    assert joined({k: v for k, v in SRUN.items() if k != "SLURM_STEP_ID"}) is False


def test_one_task_on_each_node_of_srun_is_a_launcher_there() -> None:
    assert nodes_of_slurm(SRUN) == (2, 1, ("gpu07", 20_000 + 7 * 4711 % 12_000))
    assert nodes_of_slurm(SRUN | {"SLURM_NNODES": "1", "SLURM_NTASKS": "1"}) is None
    assert nodes_of_slurm({}) is None
    with pytest.raises(UsageError, match="srun with 8 tasks on 2 nodes: give it --ntasks-per-node=1"):
        nodes_of_slurm(SRUN | {"SLURM_NTASKS": "8"})
    with pytest.raises(UsageError, match="names no host"):
        nodes_of_slurm(SRUN | {"SLURM_JOB_NODELIST": ""})


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("a", "a"), ("a,b", "a"), ("n[1-3]", "n1"), ("n[007,9]-ib.x", "n007-ib.x"), ("a-[01-02],b[3]", "a-01"), ("", "")],
)
def test_the_first_host_of_a_list_of_slurm(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


def test_a_process_of_a_study_knows_nothing_of_the_ranks_around_it() -> None:
    around = TORCHRUN | {"LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "x", "DISTILLKIT_TIMEOUT": "3", "HOME": "/h"}
    assert alone(around) == {"HOME": "/h"}


def test_an_address_of_this_machine_has_an_interface() -> None:
    assert (interface("127.0.0.1"), interface("203.0.113.9"), interface("")) == ("lo", "", "")
