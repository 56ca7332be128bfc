"""`npz` in every layout, and CIFAR-10's two tars, written as their authors did."""

from __future__ import annotations

import pickletools
import struct
import tarfile
from io import BytesIO, StringIO
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from distillkit_datasets.cifar10 import Cifar10
from distillkit_datasets.image_set import taken
from distillkit_datasets.npz_set import Npz

from distillkit.api import InputError

U = np.random.RandomState(0).randint(0, 256, (6, 4, 4, 3), np.uint8)
X = torch.from_numpy(U).permute(0, 3, 1, 2).float() / 127.5 - 1


def npz(folder: Path, *arrays: np.ndarray, compressed: bool = False, keys: dict[str, object] | None = None) -> Npz:
    (np.savez_compressed if compressed else np.savez)(folder / "x.npz", *arrays)
    return opened(folder, **(keys or {}))


def opened(folder: Path, **keys: object) -> Npz:
    dataset = Npz(Npz.Config(path="x.npz", **keys))
    dataset.open(folder)
    return dataset


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "Fortran"])
def test_colour_images_may_lie_any_way(layout: str, tmp_path: Path) -> None:
    array = {"NHWC": U, "NCHW": U.transpose(0, 3, 1, 2).copy(), "Fortran": np.asfortranarray(U)}[layout]
    assert torch.equal(npz(tmp_path, array).images(torch.arange(6)), X)


@pytest.mark.parametrize("shape", [(5, 3, 4, 4), (5, 1, 4, 4), (5, 2, 1, 1), (1, 3, 4, 4)])
def test_rows_are_those_of_an_index_in_the_same_layout_however_the_images_lie(shape: tuple[int, ...]) -> None:
    numbers = torch.arange(2 * 5 * 3 * 16, dtype=torch.uint8)[: 2 * np.prod(shape)].view(2 * shape[0], *shape[1:])
    rows = torch.tensor([shape[0] - 1, 0, 0])
    for order in permutations(range(4)):
        stored = numbers.permute(order).contiguous().permute([order.index(i) for i in range(4)])
        for x in (stored, stored[shape[0] :], stored[::2], stored.flip(-1)):
            found = taken(x, rows)
            assert torch.equal(found, x[rows])
            assert found.stride() == x[rows].stride()


def test_bytes_become_the_same_floats_and_the_stored_ones_stay(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    dataset = npz(tmp_path, levels)
    for _ in range(2):
        assert torch.equal(dataset.images(torch.tensor([0])), torch.from_numpy(levels)[None].float() / 127.5 - 1)


def test_grey_images_need_no_channel(tmp_path: Path) -> None:
    dataset = npz(tmp_path, U[..., 0], compressed=True)
    assert dataset.shape == (1, 4, 4) and torch.equal(dataset.images(torch.arange(6)), X[:, :1])


def test_labels_in_order_may_deflate_well_and_name_the_classes(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=np.tile(U, (2000, 1, 1, 1)), labels=np.arange(12000) // 6000)
    dataset = opened(tmp_path, held_out=100, xflip=True)
    held_out = dataset.held_out()
    assert (len(dataset), len(held_out), dataset.label_dim) == (23800, 100, 2)
    assert held_out.classes(torch.arange(100)).bincount().tolist() == [50, 50]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [((U, np.arange(5)), r"labels are int64 \[5\]"), ((U, np.arange(6) / 2), "labels: no readable array"),
     ((U, np.arange(6) - 1), "image 0: label -1; labels must be classes from 0"),
     ((U, np.array([0, 1, 2, 3, 4, 2**63], np.uint64)), "image 5: label 9223372036854775808; labels must be classes"),
     ((U[:, :3],), "4x3, must be square"), ((U[:0],), "holds no images"), ((U[:0], np.arange(0)), "holds no images"),
     ((U[0, 0],), "must be uint8"), ((U[:, :, :0],), "must be uint8"),
     ((U.astype(np.uint16), np.arange(6)),
      r"uint16 \[6, 4, 4, 3\], must be uint8.*; it holds arr_0 uint16 \[6, 4, 4, 3\], arr_1 int64 \[6\]")],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(arrays: tuple[np.ndarray, ...], message: str, tmp_path: Path) -> None:
    message = message.replace("labels: no", "arr_1: no")
    with pytest.raises(InputError, match=message):
        npz(tmp_path, *arrays)


def test_without_images_the_names_that_are_looked_for_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", pixels=U)
    told = r"no array called images or arr_0, as np.savez.* does; it holds pixels uint8 \[6, 4, 4, 3\]$"
    with pytest.raises(InputError, match=told):
        opened(tmp_path)


PIXELS = np.random.RandomState(1).randint(0, 256, (12, 3072), np.uint8)  # two images for each of six batches
CLASSES = [6, 9, 9, 4, 1, 1, 2, 7, 8, 3, 4, 7]


def binary(rows: slice) -> bytes:
    return b"".join(bytes([c]) + row.tobytes() for c, row in zip(CLASSES[rows], PIXELS[rows], strict=True))


def text(data: bytes) -> bytes:
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<I", len(data)) + data


def python(rows: slice) -> bytes:
    """The opcodes that Python 2 wrote: {"batch_label": .., "labels": [..], "data": array, "filenames": [..]}."""
    n, pixels = len(CLASSES[rows]), PIXELS[rows].tobytes()
    labels = b"".join(b"K" + bytes([c]) for c in CLASSES[rows])
    start = b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85" + text(b"b") + b"\x87Rq\x09"
    dtype = b"cnumpy\ndtype\nq\x0a" + text(b"u1") + b"K\x00K\x01\x87Rq\x0b(K\x03" + text(b"|") + b"NNN"
    dtype += b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    array = start + b"(K\x01K" + bytes([n]) + b"M\x00\x0c\x86" + dtype + b"\x89" + text(pixels) + b"tb"
    return (
        b"\x80\x02}q\x01(" + text(b"batch_label") + b"q\x02" + text(b"training batch 1 of 5") + b"q\x03"
        + text(b"labels") + b"q\x04]q\x05(" + labels + b"e" + text(b"data") + b"q\x06" + array
        + text(b"filenames") + b"q\x0c]q\x0d(" + b"".join(text(b"x.png") for _ in range(n)) + b"eu."
    )  # fmt: skip


def cifar(path: Path, version: str, **keys: object) -> Cifar10:
    write, end = (binary, ".bin") if version == "binary" else (python, "")
    with tarfile.open(path / "cifar.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("cifar/readme.html"))
        for i, name in enumerate([*(f"data_batch_{j}" for j in range(1, 6)), "test_batch"]):
            data = write(slice(2 * i, 2 * i + 2))
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}{end}")
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    dataset = Cifar10(Cifar10.Config(path="cifar.tar.gz", **keys))
    dataset.open(path)
    return dataset


@pytest.mark.parametrize("version", ["binary", "python"])
def test_cifar10_is_read_in_order_from_either_version(version: str, tmp_path: Path) -> None:
    dataset = cifar(tmp_path, version)
    x = torch.from_numpy(PIXELS).view(-1, 3, 32, 32).float() / 127.5 - 1
    assert torch.equal(dataset.images(torch.arange(10)), x[:10]) and len(dataset) == 10
    assert torch.equal(dataset.labels(torch.arange(10)), torch.eye(10)[CLASSES[:10]])
    held_out = dataset.held_out()
    assert torch.equal(held_out.images(torch.arange(2)), x[10:]) and len(held_out) == 2
    assert torch.equal(held_out.labels(torch.arange(2)), torch.eye(10)[CLASSES[10:]])


def test_cifar10_can_be_unconditional_mirrored_and_without_its_test_images(tmp_path: Path) -> None:
    dataset = cifar(tmp_path, "python", labels=False, xflip=True, held_out=False)
    assert (len(dataset), dataset.label_dim, dataset.held_out()) == (20, 0, None)
    assert torch.equal(dataset.images(torch.arange(10, 20)), dataset.images(torch.arange(10)).flip(-1))
    assert [picture.label for picture in cifar(tmp_path, "binary").pictures(tmp_path)] == CLASSES[:10]


def test_the_pickle_of_a_batch_is_one() -> None:
    """That the opcodes above are a pickle at all: the standard library follows its stack up to the end."""
    pickletools.dis(python(slice(0, 2)), out=StringIO())
