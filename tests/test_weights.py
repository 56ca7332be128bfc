"""Files of weights are data: what runs, unpacks, or claims more than there is is refused in a line."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from distillkit import weights
from distillkit.api import InputError

ONES = torch.ones(2, 3)


def saved(value: Any, path: Path) -> Path:
    torch.save(value, path)
    return path


class Code:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_what_torch_and_safetensors_save_is_read(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": ONES}, tmp_path / "a.safetensors")
    assert torch.equal(weights.read(tmp_path / "a.safetensors")["a"], ONES)
    given = {"model": {"a": ONES}, "args": argparse.Namespace(model="SiT-XL/2"), "step": 3}
    found = weights.read(saved(given, tmp_path / "a.pt"))
    assert torch.equal(found["model"]["a"], ONES) and found["args"].model == "SiT-XL/2"
    torch.save({"a": ONES}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(weights.read(tmp_path / "old.pth")["a"], ONES)


@pytest.mark.parametrize(
    ("found", "which"),
    [
        ({"ema": {"a": 1}, "model": {"a": 2}, "opt": {"a": 3}}, {"a": 1}),
        ({"model": {"net": {"a": 2}, "ema_2": {"a": 4}, "ema_1": {"a": 1}}, "iteration": 5}, {"a": 1}),
        ({"model": {"net": {"a": 2}}, "optimizer": {"net": {}}}, {"a": 2}),
        ({"state_dict": {"module.a": 2}}, {"a": 2}),
        ({"a": ONES}, {"a": ONES}),
    ],
)
def test_of_a_training_checkpoint_the_average_is_taken(found: dict[str, Any], which: dict[str, Any]) -> None:
    assert weights.averaged(found) == which


def test_a_file_that_names_code_is_refused_and_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"a\.pt: refused: no state dict \(UnpicklingError\)"):
        weights.read(saved({"a": Code()}, tmp_path / "a.pt"))
    assert not Path("ran").exists()


def rewritten(path: Path, compression: int, grown: int = 0) -> Path:
    """The same archive with other entries: compressed, or with a longer table of names."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data + b"\0" * (grown if name.endswith(".pkl") else 0))
    return path


def test_an_archive_that_could_unpack_to_any_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = rewritten(saved({"a": torch.zeros(100_000)}, tmp_path / "bomb.pt"), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"its archive is compressed, which torch\.save never does"):
        weights.read(bomb)
    monkeypatch.setattr(weights, "LARGEST_INDEX", 10_000)
    long = rewritten(saved({"a": ONES}, tmp_path / "long.pt"), zipfile.ZIP_STORED, grown=20_000)
    with pytest.raises(InputError, match="its table of names is too long"):
        weights.read(long)


def test_tensors_that_are_larger_than_the_file_are_refused(tmp_path: Path) -> None:
    path = saved({"a": torch.zeros(1).expand(1 << 20, 1 << 12)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="its tensors are larger than the file"):
        weights.tensors(path, weights.read(path))


def test_a_file_that_is_not_there_is_told_from_one_that_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.safetensors: no such file$"):
        weights.read(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="no file of weights: it is a folder"):
        weights.read(tmp_path)


@pytest.mark.parametrize("value", [3, [ONES], {1: ONES}])
def test_what_is_no_table_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a table of tensors by name"):
        weights.read(saved(value, tmp_path / "a.pt"))


@pytest.mark.parametrize("value", ["a word", ONES.to_sparse(), None])
def test_a_state_dict_holds_nothing_but_tensors(value: Any, tmp_path: Path) -> None:
    path = saved({"a": ONES, "b": value}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="not all of its values are tensors"):
        weights.tensors(path, weights.read(path))


def test_weights_are_finite_floats_and_come_in_float32(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    halves = weights.floats(path, {"a": ONES.half(), "b": ONES.T.double(), "c": ONES.bfloat16()})
    assert {t.dtype for t in halves.values()} == {torch.float32} and halves["b"].is_contiguous()
    with pytest.raises(InputError, match=r"a\.pt: refused: a is int64, no weight"):
        weights.floats(path, {"a": torch.ones(2, dtype=torch.int64)})
    with pytest.raises(InputError, match="a holds numbers that are not finite"):
        weights.floats(path, {"a": torch.tensor([1.0, float("nan")])})
