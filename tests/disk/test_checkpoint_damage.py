"""Checkpoints: every damage is found, set aside and survived."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distillkit.api import InputError
from distillkit.disk import files, manifest
from distillkit.disk.checkpoint import load_newest, save


def tensors(nimg: int) -> dict[str, Tensor]:
    w = torch.arange(96, dtype=torch.float32).reshape(8, 12) + nimg
    return {"networks/generator/w": w, "ema/w": w * 0.5, "optimizers/generator/step": torch.tensor(nimg)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def flip(path: Path, at: float, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1 << bit
    path.write_bytes(data)


def damage(kind: str, path: Path, at: float, bit: int) -> None:
    file = sorted(path.iterdir())[bit % len(list(path.iterdir()))]
    data = file.read_bytes()
    offset = int(at * len(data))
    match kind:
        case "flip":
            flip(file, at, bit)
        case "truncate":
            file.write_bytes(data[:offset])
        case "append":
            file.write_bytes(data + b"\n")
        case "zero":
            file.write_bytes(data[:offset] + bytes(len(data) - offset))
        case "missing":
            file.unlink()
        case "folder":
            file.unlink()
            file.mkdir()
        case "link":
            file.rename(path.parent / f"elsewhere-{file.name}")
            file.symlink_to(path.parent / f"elsewhere-{file.name}")
        case "pipe":
            file.unlink()
            os.mkfifo(file)
        case "swap":
            (path / "ema.safetensors").rename(path / "x")
            (path / "networks.safetensors").rename(path / "ema.safetensors")
            (path / "x").rename(path / "networks.safetensors")
        case "older":
            older = path.with_name("kimg-000001.000")
            (path / file.name).write_bytes((older / file.name).read_bytes())
        case "manifest":
            text = json.loads((path / manifest.NAME).read_text())
            del text["files"]["ema.safetensors"]
            (path / manifest.NAME).write_text(json.dumps(text, indent=1) + "\n")


KINDS = ["flip", "truncate", "append", "zero", "missing", "folder", "link", "pipe", "swap", "older", "manifest"]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(KINDS), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_any_damage_is_found_and_the_checkpoint_before_is_used(kind: str, at: float, bit: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(folder, 1000, tensors(1000), {"nimg": 1000}, keep=2)
        path = save(folder, 2000, tensors(2000), {"nimg": 2000}, keep=2)
        damage(kind, path, at, bit)
        with pytest.warns(UserWarning, match=r"kimg-000002.000 is damaged: \S+\.(json|safetensors) .*") as caught:
            found, meta, used = load_newest(folder, "cpu")
        assert len(caught) == 1 and "\n" not in str(caught[0].message)
        assert same(found, tensors(1000)) and meta == {"nimg": 1000} and used.name == "kimg-000001.000"
        assert (folder / "damaged-kimg-000002.000").is_dir() and not path.exists()


def test_the_warning_names_the_file_and_both_hashes(tmp_path: Path) -> None:
    save(tmp_path, 1, tensors(1), {}, keep=2)
    path = save(tmp_path, 2, tensors(2), {}, keep=2)
    good = files.sha256(path / "ema.safetensors")[:16]
    flip(path / "ema.safetensors", 0.9, 3)
    bad = files.sha256(path / "ema.safetensors")[:16]
    with pytest.warns(UserWarning, match=f"ema.safetensors has sha256 {bad}, expected {good}"):
        load_newest(tmp_path, "cpu")


def test_an_edited_manifest_is_named_with_both_hashes_of_its_content(tmp_path: Path) -> None:
    path = save(tmp_path, 1, tensors(1), {}, keep=1)
    damage("manifest", path, 0, 0)
    expected = json.loads((path / manifest.NAME).read_text())["sha256"][:16]
    told = f"manifest.json has sha256 [0-9a-f]{{16}}, expected {expected}"
    with pytest.warns(UserWarning, match=told), pytest.raises(InputError):
        load_newest(tmp_path, "cpu")


def test_a_checkpoint_under_another_name_is_damaged(tmp_path: Path) -> None:
    save(tmp_path, 1, tensors(1), {}, keep=1).rename(tmp_path / "kimg-000000.002")
    with pytest.warns(UserWarning, match="another checkpoint"), pytest.raises(InputError):
        load_newest(tmp_path, "cpu")


def test_only_damaged_ones_are_an_error_also_the_second_time(tmp_path: Path) -> None:
    for nimg in (1, 2):
        flip(save(tmp_path, nimg, tensors(nimg), {}, keep=2) / "state.json", 0.5, 0)
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(InputError, match="no undamaged checkpoint") as caught,
    ):
        load_newest(tmp_path, "cpu")
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"damaged-kimg-000000.001, damaged-kimg-000000.002"):
        load_newest(tmp_path, "cpu")


def test_a_checkpoint_damaged_again_after_it_was_made_again_is_set_aside_too(tmp_path: Path) -> None:
    save(tmp_path, 1, tensors(1), {}, keep=9)
    for _ in range(3):
        flip(save(tmp_path, 2, tensors(2), {}, keep=9) / "ema.safetensors", 0.5, 0)
        with pytest.warns(UserWarning, match="is damaged"):
            assert load_newest(tmp_path, "cpu")[2].name == "kimg-000000.001"
    damaged = [f"damaged-kimg-000000.002{end}" for end in ("", "-2", "-3")]
    assert names(tmp_path) == [*damaged, "kimg-000000.001"]


def test_a_folder_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1, tensors(1), {}, keep=1)

    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(files, "sha256", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        load_newest(tmp_path, "cpu")
    assert names(tmp_path) == ["kimg-000000.001"]


def test_a_planted_pickle_is_never_opened(tmp_path: Path) -> None:
    path = save(tmp_path, 1, tensors(1), {}, keep=1)
    for name in (".metadata", "networks.pt", "evil.safetensors"):
        os.mkfifo(path / name)  # who opens it waits forever
    assert same(load_newest(tmp_path, "cpu")[0], tensors(1))


def test_saving_over_a_damaged_one_keeps_it_aside(tmp_path: Path) -> None:
    flip(save(tmp_path, 1, tensors(1), {}, keep=1) / "ema.safetensors", 0.5, 0)
    with pytest.warns(UserWarning, match="damaged"):
        save(tmp_path, 1, tensors(1), {}, keep=1)
    assert names(tmp_path) == ["damaged-kimg-000000.001", "kimg-000000.001"]
    assert same(load_newest(tmp_path, "cpu")[0], tensors(1))
