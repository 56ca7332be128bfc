"""Checkpoints: exact, complete or absent; what a full disk does to them."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distillkit.api import ResourceError
from distillkit.disk import checkpoint
from distillkit.disk.checkpoint import load, load_newest, name, prune, save

FEW = settings(max_examples=60, deadline=None, derandomize=True)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
META = st.dictionaries(
    st.text(),
    st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)),
    max_size=4,
)


def tensors(nimg: int) -> dict[str, Tensor]:
    w = torch.arange(96, dtype=torch.float32).reshape(8, 12) + nimg
    return {"networks/generator/w": w, "ema/w": w * 0.5, "optimizers/generator/step": torch.tensor(nimg)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and bits(a[k]) == bits(b[k]) for k in a
    )


def bits(tensor: Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist()) if tensor.numel() else b""


def test_tensors_of_every_kind_come_back_bit_for_bit(tmp_path: Path) -> None:
    w = torch.randn(4, 6)
    given = {f"networks/{dtype}": w.to(dtype) for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.int64)}
    given |= {
        "networks/transposed": w.T,
        "networks/view": w[:, ::2],
        "networks/tied": w,
        "networks/nan": torch.tensor([math.nan, -0.0, math.inf]),
        "ema/channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "ema/parameter": torch.nn.Parameter(w),
        "scalar": torch.tensor(True),
        "components/empty": torch.zeros(0, 3),
    }
    save(tmp_path, 1, given, {}, keep=1)
    found, _, path = load_newest(tmp_path, "cpu")
    assert same(found, given)
    assert {file.stem for file in path.glob("*.safetensors")} == {"networks", "ema", "scalar", "components"}


def test_one_file_of_a_checkpoint_is_loaded_alone(tmp_path: Path) -> None:
    path = save(tmp_path, 1, {"networks/a": torch.ones(2), "ema/b": torch.zeros(3)}, {}, keep=1)
    assert list(load(path, "cpu", only="ema")[0]) == ["ema/b"]


def test_loaded_tensors_do_not_depend_on_the_files(tmp_path: Path) -> None:
    path = save(tmp_path, 1, tensors(1), {}, keep=1)
    found, _, _ = load_newest(tmp_path, "cpu")
    with open(path / "networks.safetensors", "r+b") as file:
        file.truncate(0)
    assert same(found, tensors(1))


@FEW
@given(META)
def test_meta_comes_back_exactly(meta: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), 1, {}, meta, keep=1)
        assert repr(load_newest(Path(folder), "cpu")[1]) == repr(meta)  # repr: nan is nan, 1 is not True


def test_a_meta_key_that_json_would_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no string: 1"):
        save(tmp_path, 1, {}, {"a": [{1: 2}]}, keep=1)


def test_the_name_carries_the_exact_number_of_images_and_sorts(tmp_path: Path) -> None:
    assert save(tmp_path, 512_000, {}, {}, keep=9).name == "kimg-000512.000"
    assert save(tmp_path, 7, {}, {}, keep=9).name == "kimg-000000.007"
    assert save(tmp_path, 2_500_000_001, {}, {}, keep=9).name == "kimg-2500000.001"
    assert load_newest(tmp_path, "cpu")[2].name == "kimg-2500000.001"


def test_the_newest_and_the_pinned_stay(tmp_path: Path) -> None:
    for nimg in range(1000, 6000, 1000):
        save(tmp_path, nimg, tensors(nimg), {}, keep=2, pinned=["kimg-000002.000"])
    assert names(tmp_path) == ["kimg-000002.000", "kimg-000004.000", "kimg-000005.000"]


def test_there_is_none_in_an_empty_or_absent_folder(tmp_path: Path) -> None:
    assert load_newest(tmp_path, "cpu") is None
    assert load_newest(tmp_path / "absent", "cpu") is None


def test_what_a_killed_process_left_is_removed_by_the_next_save(tmp_path: Path) -> None:
    (tmp_path / ".tmp-kimg-000009.000").mkdir()
    (tmp_path / ".tmp-kimg-000009.000" / "networks.safetensors").write_bytes(b"half")
    save(tmp_path, 1, {}, {}, keep=1)
    assert names(tmp_path) == ["kimg-000000.001"]


# Saving the same images again.


def test_saving_the_same_images_again_replaces(tmp_path: Path) -> None:
    save(tmp_path, 1, tensors(1), {"try": 1}, keep=1)
    save(tmp_path, 1, tensors(1), {"try": 2}, keep=1)
    assert load_newest(tmp_path, "cpu")[1] == {"try": 2} and names(tmp_path) == ["kimg-000000.001"]


# Order of the system calls, and a full disk.


def test_everything_is_on_the_disk_before_the_name_and_the_name_before_the_prune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1, tensors(1), {}, keep=1)
    calls: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def spy_fsync(fd: int) -> None:
        calls.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))))
        fsync(fd)

    def spy_rename(source: Path, target: Path) -> None:
        calls.append(("rename", Path(source).name))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "rename", spy_rename)
    save(tmp_path, 2, tensors(2), {}, keep=1)
    tmp = ".tmp-kimg-000000.002"
    at = calls.index(("rename", tmp))
    content = {"networks.safetensors", "ema.safetensors", "optimizers.safetensors", "state.json", "manifest.json"}
    assert {name for _, name in calls[:at]} == {*content, tmp}
    assert calls[at - 1] == ("fsync", tmp)  # the folder last, when all names are in it
    assert calls[at + 1 :] == [("fsync", tmp_path.name), ("rename", "kimg-000000.001")]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "mkdir", "rename"])
def test_a_failing_call_leaves_the_earlier_checkpoints_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    save(tmp_path, 1, tensors(1), {"try": 1}, keep=1)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    for nimg in (1, 2):  # also in the middle of replacing one
        with monkeypatch.context() as patch, pytest.raises(ResourceError, match=os.strerror(number)) as caught:
            patch.setattr(os, call, fail)
            save(tmp_path, nimg, tensors(nimg), {"try": 2}, keep=1)
        assert caught.value.exit_code == 5 and ("MiB free" in str(caught.value)) == (number != errno.EIO)
        assert names(tmp_path) == ["kimg-000000.001"] and load_newest(tmp_path, "cpu")[1] == {"try": 1}


def test_an_old_checkpoint_that_cannot_be_removed_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1, tensors(1), {}, keep=1)

    def fail(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="cannot remove old checkpoints"):
        patch.setattr(checkpoint.files, "remove", fail)
        save(tmp_path, 2, tensors(2), {}, keep=1)
    save(tmp_path, 3, tensors(3), {}, keep=1)
    assert names(tmp_path) == ["kimg-000000.003"]


FULL_DISK = """
import resource, sys, warnings
from pathlib import Path
import torch
from distillkit.api import ResourceError
from distillkit.disk.checkpoint import load, load_newest, name, prune, save
folder = Path(sys.argv[1])
def state(nimg): return {"networks/w": torch.full((3000,), float(nimg)), "ema/w": torch.full((100,), float(nimg))}
save(folder, 1, state(1), {"pad": "x" * 2000}, keep=1)
refused = 0
for limit in range(0, 14000, 250):  # bytes per file
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save(folder, 2 + limit, state(2 + limit), {"pad": "x" * 2000}, keep=1)
    except ResourceError as error:
        refused += 1
        assert "File too large" in str(error) and "MiB free" in str(error), error
        expected = 1
    else:
        expected = 2 + limit
    (path,) = folder.iterdir()
    assert load_newest(folder, "cpu")[0]["networks/w"][0] == expected
print(refused)
"""


def test_a_disk_that_fills_up_at_any_byte_costs_the_new_checkpoint_only(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 40 < int(done.stdout) < 56


def test_what_a_kill_left_beyond_the_newest_is_pruned_later(tmp_path: Path) -> None:
    for nimg in (1, 2, 3):
        save(tmp_path, nimg, {"w/w": torch.ones(2)}, {}, keep=3)
    prune(tmp_path, 1, {name(1)})
    assert sorted(path.name for path in tmp_path.iterdir()) == [name(1), name(3)]
