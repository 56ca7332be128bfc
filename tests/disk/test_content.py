"""A digest of what lies somewhere: another one where the content is another, and cheap to take."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import pytest

from distillkit.disk import content, manifest


def digest(path: Path) -> str:
    found = content.of(path)
    assert found is not None
    return found.digest


def packed(path: Path, entries: dict[str, bytes], year: int = 2000, method: int = ZIP_STORED) -> Path:
    path.unlink(missing_ok=True)
    with ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(ZipInfo(name, (year, 1, 1, 0, 0, 0)), data, method)
    return path


def test_a_zip_is_its_names_and_sums_whenever_it_was_packed(tmp_path: Path) -> None:
    entries = {f"{i:03d}.png": bytes([i]) * 50 for i in range(20)}
    first = digest(packed(tmp_path / "a.zip", entries))
    assert digest(packed(tmp_path / "b.zip", entries, year=2020)) == first
    assert digest(packed(tmp_path / "a.zip", entries | {"003.png": b"x" * 50})) != first
    assert digest(packed(tmp_path / "a.zip", {("x" + k): v for k, v in entries.items()})) != first
    assert digest(packed(tmp_path / "a.zip", dict([*entries.items()][1:]))) != first


def test_the_images_of_a_zip_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "a.zip", {"a.npy": bytes(5_000_000), "b.npy": bytes(9)})
    before = digest(path)
    with path.open("r+b") as file:  # damage among the pixels, which reading an image will find
        file.seek(1_000_000)
        file.write(b"x")
    assert digest(path) == before


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + b"\xff" * 18])
def test_what_only_is_called_a_zip_is_hashed_as_a_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    assert len(digest(path)) == 64


def test_a_folder_is_its_files_however_it_was_copied(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    for i in range(200):
        place = folder / str(i % 3)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(bytes([i]) * 40)
    first = digest(folder)
    shutil.copytree(folder, tmp_path / "b")
    assert digest(tmp_path / "b") == first
    (folder / ".DS_Store").write_bytes(b"of a file browser")
    assert digest(folder) == first
    (folder / "0" / "3.png").write_bytes(b"another size")
    assert digest(folder) != first
    for path in (tmp_path / "b").rglob("*.png"):
        path.write_bytes(b"x" * 40)  # other images, all of the same sizes
    assert digest(tmp_path / "b") != first


def test_labels_of_a_folder_count_by_their_bytes(tmp_path: Path) -> None:
    for i in range(300):
        (tmp_path / f"{i:03d}.png").write_bytes(b"x")
    labels = tmp_path / "dataset.json"
    labels.write_text('{"labels": [0, 1]}')
    first = digest(tmp_path)
    labels.write_text('{"labels": [1, 0]}')
    assert digest(tmp_path) != first


def test_a_network_is_its_weights(tmp_path: Path) -> None:
    result = tmp_path / "run" / "result"
    result.mkdir(parents=True)
    (result / "student.safetensors").write_bytes(b"weights")
    first = digest(result)
    assert digest(tmp_path / "run") == digest(result / "student.safetensors") == first
    (result / "eval-1.json").write_text("{}")
    manifest.seal(result)
    assert digest(result) == first
    (result / "manifest.json").unlink()
    (result / "student.safetensors").write_bytes(b"heights")
    assert digest(result) != first


def test_a_file_that_was_touched_is_the_same_and_one_that_is_gone_is_no_other(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pkl"
    path.write_bytes(b"weights")
    note = content.of(path).noted()
    os.utime(path, (1, 1))
    assert not content.differs(path, note)
    path.write_bytes(b"heights")
    assert content.differs(path, note)
    path.unlink()
    assert not content.differs(path, note)


def test_a_file_with_its_stamp_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "teacher.pkl"
    path.write_bytes(b"weights")
    note = content.of(path).noted()
    monkeypatch.setattr(content, "of", lambda path: pytest.fail("read"))
    assert not content.differs(path, note)


def test_a_folder_a_thousand_deep_is_read(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        for _ in range(1000):
            os.mkdir("d")
            os.chdir("d")
        Path("x.png").write_bytes(b"x")
    try:
        found = content.of(tmp_path / "d")
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # too deep for what pytest does
    assert found is not None and len(found.digest) == 64


def test_a_shard_is_its_size_and_bytes_here_and_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    for i in range(3):
        (shards / f"{i}.tar").write_bytes(bytes([i]) * 100_000)
    first, one = digest(shards), digest(shards / "0.tar")
    (shards / "1.tar").write_bytes(b"\1" * 99_999 + b"x")
    assert digest(shards) != first and digest(shards / "0.tar") == one
    (shards / "0.tar").write_bytes(bytes(100_001))
    assert digest(shards / "0.tar") != one
    with open(shards / "2.tar", "wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing: not read whole
    digest(shards)
