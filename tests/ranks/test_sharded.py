"""Networks in pieces train the weights that whole ones do; all cases by two processes that are started once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from distillkit.api import UsageError
from distillkit.testing import toy_state

pytestmark = pytest.mark.ranks
HERE = Path(__file__).parent
CASES = ["sid", "sid joint", "sida el", "dmd2", "cd", "cd el", "gdd"]  # of cases.py


def started(size: int, folder: Path, *names: str) -> dict[str, Any]:
    """What `size` processes found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "cases.py"), str(folder), *names]
    processes = [
        subprocess.Popen(command, env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                         stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for rank in range(size)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(said)
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return started(2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", CASES)
def test_networks_in_pieces_train_the_weights_of_whole_ones(found: dict[str, Any], name: str) -> None:
    numbers = found[name]
    assert numbers["0"] == 0 and numbers["moved"] > 1e-3, "the case proves nothing"
    assert numbers["4"] <= 1e-10 and numbers["20"] <= 1e-9


def test_a_gradient_that_passes_no_output_is_summed_too(found: dict[str, Any]) -> None:
    assert found["penalty"] < 1e-12


def test_a_pass_by_one_process_alone_is_refused_in_one_line(found: dict[str, Any]) -> None:
    assert found["alone"] == ["a network in pieces cannot be asked by one process alone: not with --shard"] * 2


def test_unequal_numbers_of_passes_are_refused(found: dict[str, Any]) -> None:
    assert found["unequal"].startswith("run.micro_batch = 8 makes 1 passes, which 2 processes cannot share equally")


def test_processes_that_cannot_be_grouped_are_refused(found: dict[str, Any]) -> None:
    assert found["odd"] == "--shard 3: the number of processes, 2, is no multiple of it"


def test_copies_of_two_names_and_of_known_networks_alone() -> None:
    state = toy_state()
    copy = state.add_copy("slow")
    assert isinstance(copy, nn.Module) and not any(p.requires_grad for p in copy.parameters())
    assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), state.generator.parameters(), strict=True))
    with pytest.raises(UsageError, match="two copies of this recipe want the name 'slow'"):
        state.add_copy("slow")
    with pytest.raises(UsageError, match="the networks here are teacher, generator"):
        state.add_copy("other", of="critic")
