"""Networks in pieces train the weights that whole ones do; all cases by two processes that are started once."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from distillkit.api import UsageError
from distillkit.disk import checkpoint, shards
from distillkit.run import pieces
from distillkit.testing import toy_state, toys
from distillkit.testing.ranks import simulated
from distillkit.train import snapshot
from distillkit.train.build import build
from distillkit.train.ranks.group import Group

pytestmark = pytest.mark.ranks
HERE = Path(__file__).parent
cases: Any = SimpleNamespace(**runpy.run_path(str(HERE / "cases.py")))
CASES = list(cases.CASES)


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
    assert numbers["0"] == 0 and numbers["moved"] > 1e-4, "the case proves nothing"
    rounds = cases.CASES[name].get("run", {}).get("precision") == "fp32"
    assert numbers["4"] <= (1e-3 if rounds else 1e-10) and numbers["20"] <= (1e-2 if rounds else 1e-9)


def test_adapters_train_on_two_processes_as_on_one_and_go_on_to_the_bit(found: dict[str, Any]) -> None:
    """Whole networks that share their weights with the teacher: what is summed are the adapters' gradients."""
    numbers = found["adapted"]
    assert numbers["moved"] > 1e-5 and numbers["apart"] < 1e-10 and numbers["unlike"] == []


def test_a_penalty_on_gradients_reaches_the_weights(found: dict[str, Any]) -> None:
    assert found["penalty"] < 1e-12


def test_a_pass_by_one_process_alone_is_refused_in_one_line(found: dict[str, Any]) -> None:
    assert found["alone"] == ["a network in pieces cannot be asked by one process alone: not with --shard"] * 2


def test_unequal_numbers_of_passes_are_refused(found: dict[str, Any]) -> None:
    assert found["unequal"].startswith("run.micro_batch = 8 makes 1 passes, which 2 processes cannot share equally")


def test_a_metric_that_follows_weights_by_itself_is_refused(found: dict[str, Any]) -> None:
    wanted = "evaluate.0: PowerEma follows the weights of each step, which lie in pieces (--shard)"
    assert found["follows"] == wanted


def test_an_optimizer_that_needs_whole_weights_is_refused(found: dict[str, Any]) -> None:
    assert found["whole"] == "optimizer 'muon' needs whole weights, of which ranks have pieces (--shard)"


def test_processes_that_cannot_be_grouped_are_refused(found: dict[str, Any]) -> None:
    assert found["odd"] == "--shard 3: the number of processes, 2, is no multiple of it"


def test_a_checkpoint_goes_from_two_processes_to_three_to_one_and_back(tmp_path: Path) -> None:
    started(2, tmp_path, "moved")
    names = {path.name for path in next(tmp_path.glob("kimg-*")).iterdir()}
    assert {"state-00000-of-00002.safetensors", "state-00001-of-00002.safetensors", "state.json"} <= names
    assert started(3, tmp_path, "moved")["unlike"] == ""
    found = checkpoint.load_newest(tmp_path, "cpu")
    assert found is not None and "state-00002-of-00003.safetensors" in {path.name for path in found[2].iterdir()}
    first, _ = checkpoint.load(min(tmp_path.glob("kimg-*")), "cpu")
    tensors, meta, _ = found
    state = build(toys.toy_recipe(**toys.merged(cases.BASE, cases.CASES["cd el"])), toys.catalog())
    snapshot.restore(state, tensors, meta)
    again, meta = snapshot.capture(state)
    assert set(again) == set(first) and all(torch.equal(again[key], first[key]) for key in first)
    assert any(key.startswith("optimizers/") for key in first) and any(key.startswith("copies/") for key in first)
    checkpoint.save(tmp_path, meta["nimg"] + 1, again, meta, 9)
    assert started(2, tmp_path, "moved")["unlike"] == ""


def test_a_folder_that_a_process_does_not_see_is_refused_on_all(tmp_path: Path) -> None:
    def refused(group: Group) -> str:
        folder = tmp_path if group.first else tmp_path / "another disk"
        with pytest.raises(UsageError) as refusal:
            pieces.words(SimpleNamespace(ranks=group))["see"](path=str(folder / "mark"))
        return str(refusal.value)

    (tmp_path / "mark").touch()
    for said in simulated(2, refused):
        assert said.startswith("--shard: rank 1 (") and said.endswith("give --runs a folder that all share")


def test_a_missing_file_of_pieces_is_damage(tmp_path: Path) -> None:
    rows = torch.arange(12.0).view(4, 3)
    for i, part in enumerate((rows[:2], rows[2:])):
        shards.write(tmp_path / shards.name(i, 2), {"a": (part, rows.shape)})
    both = sorted(tmp_path.iterdir())
    found = shards.Pieces(both)
    assert torch.equal(found.rows("a", 1, 3), rows[1:3]) and found.rows("a", 0, 0).shape == (0, 3)
    with pytest.raises(ValueError, match="1 of 2 files of pieces are there"):
        shards.Pieces(both[:1])
    shards.write(tmp_path / "state-00000-of-00001.safetensors", {"a": (rows[:2], rows.shape)})
    with pytest.raises(ValueError, match="the pieces of a are not 4 rows"):
        shards.Pieces([tmp_path / "state-00000-of-00001.safetensors"])


def test_copies_of_two_names_and_of_known_networks_alone() -> None:
    state = toy_state()
    copy = state.add_copy("slow")
    assert isinstance(copy, nn.Module) and not any(p.requires_grad for p in copy.parameters())
    assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), state.generator.parameters(), strict=True))
    with pytest.raises(UsageError, match="two copies of this recipe want the name 'slow'"):
        state.add_copy("slow")
    with pytest.raises(UsageError, match="the networks here are teacher, generator"):
        state.add_copy("other", of="critic")
