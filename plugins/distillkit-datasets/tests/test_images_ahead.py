"""Images that are decoded ahead by threads: the same bits, the same errors, nothing left behind."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from distillkit_datasets.ahead import Ahead
from distillkit_datasets.image_zip import ImageZip
from distillkit_datasets.latents import Latents
from image_files import exif, noise, png, saved
from PIL import Image

from distillkit.api import InputError
from distillkit.cli.main import main
from distillkit.testing import tiny_recipe


def packed(path: Path, n: int = 40, **changed: bytes) -> Path:
    """Images of every kind that a thread may decode, and some that it may not."""
    kinds: list[Callable[[Image.Image], bytes]] = [
        lambda image: saved(image), lambda image: saved(image, "jpeg"), lambda image: saved(image, "webp"),
        lambda image: saved(image, exif=exif(6)), lambda image: saved(image.convert("P")),
        lambda image: saved(image.convert("L")), lambda image: png(np.array(image).astype(np.uint16) * 257, 2, 16),
    ]  # fmt: skip
    with ZipFile(path, "w") as archive:
        for i in range(n):
            data = kinds[i % len(kinds)](Image.fromarray(noise(8, 8, 3, i)))
            archive.writestr(f"{i:03d}.png", changed.get(f"i{i}", data))
        archive.writestr("dataset.json", json.dumps({"labels": [[f"{i:03d}.png", i % 2] for i in range(n)]}))
    return path


def opened(folder: Path, **keys: object) -> ImageZip:
    dataset = ImageZip(ImageZip.Config(**{"path": "x.zip", "memory": "file", **keys}))
    dataset.open(folder)
    return dataset


@pytest.mark.parametrize("keys", [{}, {"xflip": True}, {"held_out": 10}, {"max_size": 20}, {"orientation": "stored"}])
@pytest.mark.parametrize("workers", [1, 3])
def test_bits_are_those_without_threads(keys: dict[str, object], workers: int, tmp_path: Path) -> None:
    packed(tmp_path / "x.zip")
    kept, ahead = opened(tmp_path, workers=0, **keys), opened(tmp_path, workers=workers, **keys)
    assert ahead.looks_ahead and not kept.looks_ahead and not opened(tmp_path, memory="memory").looks_ahead
    index = torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))
    for part in index.split(7):
        ahead.ahead(part)
    for part in index.split(7):
        found, wanted = ahead.images(part), kept.images(part)
        assert torch.equal(found, wanted) and found.stride() == wanted.stride()
    assert torch.equal(ahead.images(index), kept.images(index))  # of which nobody was told
    if keys.get("held_out"):
        ahead.ahead(torch.arange(10))
        other, same = ahead.held_out(), kept.held_out()
        assert torch.equal(other.images(torch.arange(10)), same.images(torch.arange(10)))


def test_latents_are_read_ahead_too(tmp_path: Path) -> None:
    for i in range(6):
        np.save(tmp_path / f"{i}.npy", np.random.RandomState(i).rand(8, 4, 4).astype(np.float32))
    (kept, ahead) = (Latents(Latents.Config(path=".", memory="file", workers=n)) for n in (0, 2))
    for dataset in (kept, ahead):
        dataset.open(tmp_path)
    ahead.ahead(torch.arange(6))
    assert torch.equal(ahead.images(torch.arange(6)), kept.images(torch.arange(6)))


DAMAGED = {
    "cut off": saved(Image.fromarray(noise(8, 8, 3)))[:-30],
    "another size": saved(Image.fromarray(noise(4, 4, 3))),
    "no image": b"hello",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_an_error_is_that_of_the_main_thread_and_comes_when_the_image_is_asked_for(name: str, tmp_path: Path) -> None:
    packed(tmp_path / "x.zip", i5=DAMAGED[name])
    kept, ahead = opened(tmp_path, workers=0), opened(tmp_path, workers=2)
    ahead.ahead(torch.arange(8))
    ahead.images(torch.arange(5))
    with pytest.raises(InputError) as wanted:
        kept.images(torch.arange(8))
    with pytest.raises(InputError, match=r"x\.zip: 005\.png") as found:
        ahead.images(torch.arange(8))
    assert str(found.value) == str(wanted.value)


def test_what_nobody_comes_for_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillkit_datasets.ahead.BYTES", 4 * 48)
    ahead = Ahead(lambda row: np.full((4, 4, 3), row, np.uint8), (3, 4, 4), torch.uint8, 1)
    for row in range(9):
        ahead.begin(torch.tensor([row]))
    found = [ahead.take(torch.tensor([row])) for row in range(9)]
    assert [one is not None for one in found] == [False] * 5 + [True] * 4
    assert all(int(one[0].unique()) == row and not one[1] for row, one in enumerate(found) if one)


def test_a_forked_process_decodes_by_itself() -> None:
    ahead = Ahead(lambda row: np.full((4, 4, 3), row, np.uint8), (3, 4, 4), torch.uint8, 2)
    ahead.begin(torch.arange(4))
    child = os.fork()
    if not child:
        none = ahead.take(torch.arange(4)) is None
        ahead.begin(torch.arange(3))
        found = ahead.take(torch.arange(3))
        os._exit(0 if none and found and found[0].shape == (3, 3, 4, 4) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ahead.take(torch.arange(4))[1] == []


def recipe(folder: Path, workers: int, **run: object) -> str:
    data = {"use": "image-zip", "path": "x.zip", "memory": "file", "workers": workers}
    network = {"network": {"use": "mlp", "width": 8}}
    path = folder / f"{workers}.toml"
    path.write_text(tiny_recipe("edm", dataset=data, generator=network, evaluate=None, run=run))
    return path.name


@pytest.mark.parametrize("micro", [None, 8])
def test_a_run_has_the_same_student(micro: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    packed(tmp_path / "x.zip")
    run = {"kimg": 0.096, "batch": 16, **({"micro_batch": micro} if micro else {})}
    asked: list[int] = []
    begin = Ahead.begin
    monkeypatch.setattr(Ahead, "begin", lambda self, rows: asked.append(len(rows)) or begin(self, rows))
    for workers in (0, 2):
        assert main(["run", recipe(tmp_path, workers, **run), "--runs", str(workers)]) == 0
    assert asked == ([16] * 5 if micro is None else [8] * 10)  # of six iterations the first was not foreseen
    students = [next(Path(str(n)).rglob("result/student.safetensors")).read_bytes() for n in (0, 2)]
    assert students[0] == students[1]
    assert main(["run", recipe(tmp_path, 5, **run), "--runs", "2"]) == 0  # no bit depends on it: the run is reused
    assert len(list(Path("2").glob("0*"))) == 1


STOPPED = """
import os, signal, sys
from distillkit.cli.main import main
from distillkit.run import loop

iterate = loop.iterate
def last(state):
    iterate(state)
    if state.iteration == 3:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
loop.iterate = last
signal.signal(getattr(signal, sys.argv[1]), signal.SIG_DFL)  # a shell starts its background jobs deaf to SIGINT
sys.exit(main(["run", "2.toml"]))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_as_ever(name: str, tmp_path: Path) -> None:
    packed(tmp_path / "x.zip")
    recipe(tmp_path, 2, kimg=50, batch=16)
    call = [sys.executable, "-c", STOPPED, name]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 75 and "Traceback" not in done.stderr, done.stderr


def test_threads_end_with_the_set(tmp_path: Path) -> None:
    packed(tmp_path / "x.zip")
    before = set(threading.enumerate())
    dataset = opened(tmp_path, workers=2)
    dataset.ahead(torch.arange(8))
    dataset.images(torch.arange(8))
    mine = set(threading.enumerate()) - before
    assert mine
    del dataset
    gc.collect()
    for thread in mine:
        thread.join(10)
    assert not any(thread.is_alive() for thread in mine)
