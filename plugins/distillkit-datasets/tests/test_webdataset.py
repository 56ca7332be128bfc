"""`webdataset` reads shards as their writers write them, by index, and refuses hostile ones in one line."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from distillkit_datasets import shard_index, tar_index
from distillkit_datasets.image_zip import ImageZip
from distillkit_datasets.webdataset import WebDataset
from image_files import noise, saved
from PIL import Image

from distillkit.api import InputError
from distillkit.cli.main import main
from distillkit.testing import tiny_recipe

Entry = tuple[str, bytes]


def tar(
    path: Path, entries: Iterable[Entry], form: int = tarfile.PAX_FORMAT, mtime: float = 1.5, **info: object
) -> Path:
    """As WebDataset writes it: times with a fraction, so an extended header before each member."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as file:
        for name, data in entries:
            one = tarfile.TarInfo(name)
            one.size, one.mtime = len(data), mtime if form == tarfile.PAX_FORMAT else 1
            for key, value in info.items():
                setattr(one, key, value)
            file.addfile(one, BytesIO(data))
    return path


def image(i: int) -> bytes:
    return saved(Image.fromarray(noise(8, 8, 3, i)), ("png", "webp")[i % 2], **({"lossless": True} if i % 2 else {}))


def entries(first: int, n: int) -> list[Entry]:
    rows = [
        [(f"{i:04d}.{('png', 'webp')[i % 2]}", image(i)), (f"{i:04d}.cls", b"%d\n" % (i % 3))]
        for i in range(first, first + n)
    ]
    return [entry for row in rows for entry in row]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shard in range(3):
        tar(tmp_path / f"shards/train-{shard:03d}.tar", entries(10 * shard, 10))
    return tmp_path


def opened(folder: Path, path: str = "shards", **keys: object) -> WebDataset:
    dataset = WebDataset(WebDataset.Config(path=path, **keys))
    dataset.cache = folder / "cache"
    dataset.open(folder)
    return dataset


@pytest.mark.parametrize("memory", ["memory", "file"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_images_classes_and_order_are_those_of_the_members(form: int, memory: str, tmp_path: Path) -> None:
    for shard in range(3):
        tar(tmp_path / f"shards/train-{shard:03d}.tar", entries(10 * shard, 10), form)
    dataset = opened(tmp_path, memory=memory)
    index = torch.arange(30)
    wanted = torch.from_numpy(np.stack([noise(8, 8, 3, i) for i in range(30)])).permute(0, 3, 1, 2)
    assert torch.equal(dataset.images(index), wanted.float() / 127.5 - 1)
    assert dataset.classes(index).tolist() == [i % 3 for i in range(30)] and dataset.label_dim == 3
    assert dataset.names()[11] == "train-001.tar/0011.webp"
    assert opened(tmp_path, labels=False).label_dim == 0


LONG = "a/" * 70 + "very-long-name-" * 8
NAMED = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}


@pytest.mark.parametrize("form", NAMED)
def test_long_names_and_folders_are_read(form: str, tmp_path: Path) -> None:
    rows = [(f"./{LONG}{i}.png", saved(Image.fromarray(noise(8, 8, 3, i)))) for i in range(3)]
    tar(tmp_path / "x.tar", rows, NAMED[form])
    dataset = opened(tmp_path, "x.tar")
    assert dataset.names() == [f"x.tar/{LONG}{i}.png" for i in range(3)] and dataset.label_dim == 0


@pytest.mark.parametrize(
    ("path", "n"),
    [("shards", 30), ("shards/train-001.tar", 10), ("shards/train-{000..001}.tar", 20), ("shards/*-00[02].tar", 20)],
)
def test_shards_are_named_by_folder_file_numbers_or_pattern(path: str, n: int, folder: Path) -> None:
    assert len(opened(folder, path)) == n


@pytest.mark.parametrize(
    "path", ["nothing", "shards/train-{003..001}.tar", "shards/train-{000..009}.tar", "shards/*.zip"]
)
def test_shards_that_are_not_there_are_named(path: str, folder: Path) -> None:
    with pytest.raises(InputError, match=r"no such file or folder|counted upwards"):
        opened(folder, path)


def test_classes_may_stand_in_json(tmp_path: Path) -> None:
    rows = [(f"{i}.png", saved(Image.fromarray(noise(8, 8, 3, i)))) for i in range(4)]
    rows += [(f"{i}.json", json.dumps({"text": "x", "class": 3 - i}).encode()) for i in range(4)]
    tar(tmp_path / "x.tar", rows)
    assert opened(tmp_path, "x.tar", label="class").classes(torch.arange(4)).tolist() == [3, 2, 1, 0]
    assert opened(tmp_path, "x.tar").label_dim == 0


def test_remote_shards_are_read_through_fsspec(folder: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for path in (folder / "shards").glob("*.tar"):
        system.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    local, index = opened(folder), torch.randperm(30)
    for url in ("memory://bucket", "memory://bucket/train-*.tar", "memory://bucket/train-{000..002}.tar"):
        remote = opened(folder, url, memory="file", workers=4)
        remote.ahead(index)
        assert torch.equal(remote.images(index), local.images(index)) and remote.names() == local.names()
    with pytest.raises(InputError, match=r"no tar file is there|cannot be listed"):
        opened(folder, "memory://elsewhere/*.tar")
    system.pipe_file("/bucket/train-001.tar", b"short")
    with pytest.raises(InputError, match=r"memory://bucket.*/0010\.png: .*(bytes are there|cannot be read)"):
        remote.images(torch.tensor([10]))


def test_headers_are_read_once_and_again_when_a_shard_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    members = tar_index.members
    monkeypatch.setattr(shard_index, "members", lambda shard: read.append(shard.name) or members(shard))
    wanted = opened(folder).images(torch.arange(30))
    assert len(read) == 3 and torch.equal(opened(folder).images(torch.arange(30)), wanted) and len(read) == 3
    tar(folder / "shards/train-001.tar", entries(10, 9))
    assert len(opened(folder)) == 29 and len(read) == 6


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: b"", lambda data: data[:99] + b"x" + data[100:]]
)
def test_a_damaged_index_is_made_again(damage: Callable[[bytes], bytes], folder: Path) -> None:
    wanted = opened(folder).images(torch.arange(30))
    (kept,) = (folder / "cache").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert torch.equal(opened(folder).images(torch.arange(30)), wanted)
    assert kept.read_bytes() == whole and list((folder / "cache").iterdir()) == [kept]


def test_a_cache_that_cannot_be_written_costs_time_alone(folder: Path) -> None:
    (folder / "cache").write_text("a file")
    assert len(opened(folder)) == 30


def forged(folder: Path, change: Callable[[bytearray], object]) -> Path:
    """A tar of one image whose first header is changed, its sum put right."""
    path = tar(folder / "x.tar", [("a.png", image(0))], tarfile.USTAR_FORMAT)
    data = bytearray(path.read_bytes())
    change(data)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    return path


def sized(field: bytes) -> Callable[[Path], Path]:
    def change(data: bytearray) -> None:
        data[124:136] = field

    return lambda folder: forged(folder, change)


def cut(at: int) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        path = tar(folder / "x.tar", [("a.png", image(0))], tarfile.USTAR_FORMAT)
        path.write_bytes(path.read_bytes()[:at])

    return make


def one(name: str, **info: object) -> Callable[[Path], Path]:
    return lambda folder: tar(folder / "x.tar", [("a.png", image(0)), (name, b"")], tarfile.GNU_FORMAT, **info)


def holding(*more: Entry, **info: object) -> Callable[[Path], Path]:
    return lambda folder: tar(folder / "x.tar", [("a.png", image(0)), *more], **info)


PNG = image(0)
HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "parent": (one("../b.png"), "an empty part, '.' or '..'"),
    "absolute": (one("/etc/b.png"), "absolute, names a drive"),
    "control characters": (one("b\x1b[2J.png"), "holds control characters"),
    "symbolic link": (one("b.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "a link, a device"),
    "hard link": (one("b.png", type=tarfile.LNKTYPE, linkname="a.png"), "a link, a device"),
    "device": (one("b.png", type=tarfile.CHRTYPE), "a link, a device"),
    "pipe": (one("b.png", type=tarfile.FIFOTYPE), "a link, a device"),
    "name twice": (one("a.png"), "occurs twice"),
    "two images of a key": (one("a.jpg"), "two images of one key"),
    "another format": (one("b.gif"), "b.gif: images are PNG, JPEG or WebP"),
    "exabytes": (sized(b"\x80" + b"\x7f" * 11), "goes beyond the end"),
    "a size below nought": (sized(b"-0000000001\0"), "a size below 0"),
    "no number for a size": (sized(b"hello world\0"), "no readable tar"),
    "huge": (sized(b"%011o\0" % (1 << 30)), "goes beyond the end"),
    "cut off in its data": (cut(600), "goes beyond the end"),
    "cut off in a header": (cut(300), "ends 212 bytes early"),
    "without an end": (cut(1024 + 512 * ((len(PNG) - 1) // 512)), "ends 512 bytes early"),
    "empty": (cut(0), "ends 512 bytes early"),
    "text": (lambda folder: (folder / "x.tar").write_bytes(b"hello" * 999), "damaged header|no readable tar"),
    "no images": (lambda folder: tar(folder / "x.tar", [("a.txt", b"x")]), "holds no images"),
    "a long extended header": (holding(pax_headers={"comment": "x" * 99_999}), "an extended header"),
    "a size in an extended header": (holding(pax_headers={"size": str(1 << 60)}), "goes beyond the end"),
    "a class that is none": (holding(("a.cls", b"cat")), "no class there"),
    "a class beyond all": (holding(("a.cls", b"9" * 20)), "is no class from"),
    "a class below nought": (holding(("a.cls", b"-1")), "is no class from"),
    "some without a class": (holding(("b.png", image(0)), ("a.cls", b"1")), "1 images without a class"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_shard_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, message = HOSTILE[name]
    make(tmp_path)
    with pytest.raises(InputError, match=message) as found:
        opened(tmp_path, "x.tar")
    assert "\n" not in str(found.value) and str(found.value).isprintable() and "x.tar" in str(found.value)


def test_shards_are_checked_and_packed_as_other_sets_are(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main(["data", "check", "shards"]) == 0 and main(["data", "check", "shards/train-000.tar"]) == 0
    assert "30" in capsys.readouterr().out
    assert main(["data", "pack", "shards", "packed.zip"]) == 0
    packed = ImageZip(ImageZip.Config(path="packed.zip"))
    packed.open(folder)
    index = torch.arange(30)
    assert torch.equal(packed.images(index), opened(folder).images(index))
    assert torch.equal(packed.labels(index), opened(folder).labels(index))


def test_any_byte_changed_is_read_or_refused(tmp_path: Path) -> None:
    whole = tar(tmp_path / "x.tar", entries(0, 2)).read_bytes()[: 512 * 16]
    rng = np.random.RandomState(0)
    for _ in range(300):
        at = rng.randint(len(whole))
        (tmp_path / "x.tar").write_bytes(whole[:at] + rng.bytes(1) + whole[at + 1 :] + bytes(1024))
        dataset = WebDataset(WebDataset.Config(path="x.tar"))
        try:
            dataset.open(tmp_path)
            assert dataset.images(torch.arange(len(dataset))).abs().max() <= 1
        except InputError as error:
            assert "\n" not in str(error)


def student(runs: str) -> bytes:
    return next(Path(runs).rglob("result/student.safetensors")).read_bytes()


def test_a_run_goes_on_at_the_image_where_it_stopped_and_is_that_of_a_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for i in range(30):
        path = Path(f"images/train-{i // 10:03d}.tar/{i:04d}.{('png', 'webp')[i % 2]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(i))
    sets = {"w": {"use": "webdataset", "path": "shards", "labels": False, "memory": "file"},
            "f": {"use": "image-folder", "path": "images", "labels": False}}  # fmt: skip
    for name, data in sets.items():
        run = {"kimg": 0.256, "batch": 16, "checkpoint_kimg": 0.064}
        text = tiny_recipe(
            "edm", dataset=data, generator={"network": {"use": "mlp", "width": 8}}, evaluate=None, run=run
        )
        Path(f"{name}.toml").write_text(text)
        assert main(["run", f"{name}.toml", "--runs", name]) == 0
    assert student("w") == student("f")
    from distillkit.run import loop

    iterate = loop.iterate

    def stopped(state: object) -> None:
        iterate(state)
        if state.iteration == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "iterate", stopped)
    main(["run", "w.toml", "--runs", "again"])
    monkeypatch.setattr(loop, "iterate", iterate)
    assert not list(Path("again").rglob("result/student.safetensors"))
    assert main(["run", "w.toml", "--runs", "again"]) == 0
    assert student("again") == student("w")
