"""`image-folder`: order, classes from folders or dataset.json, and all that `image-zip` does."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from distillkit_datasets.image_folder import ImageFolder
from distillkit_datasets.image_zip import ImageZip
from PIL import Image

from distillkit.api import InputError


def write(folder: Path, *names: str, size: int = 4, mode: str = "RGB") -> Path:
    """Noise images whose first pixel is their number."""
    for i, name in enumerate(names):
        pixels = np.random.RandomState(i).randint(0, 256, (size, size, 3), np.uint8)
        pixels[0, 0] = i
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert(mode).save(folder / name)
    return folder


def opened(folder: Path, **keys: object) -> ImageFolder:
    dataset = ImageFolder(ImageFolder.Config(path=folder.name, **keys))
    dataset.open(folder.parent)
    return dataset


def everything(dataset: ImageFolder) -> torch.Tensor:
    return torch.arange(len(dataset))


def test_classes_are_the_top_level_folders_in_alphabetical_order(tmp_path: Path) -> None:
    dataset = opened(write(tmp_path / "x", "dog/1.png", "cat/deep/2.png", "ant/3.png", "dog/0.png"))
    assert dataset.names() == ["ant/3.png", "cat/deep/2.png", "dog/0.png", "dog/1.png"]
    assert dataset.class_names == ["ant", "cat", "dog"] and dataset.label_dim == 3
    assert torch.equal(dataset.labels(everything(dataset)), torch.eye(3)[[0, 1, 2, 2]])
    first = dataset.images(everything(dataset))[:, :, 0, 0]
    assert torch.equal(first, torch.tensor([2.0, 1, 3, 0]).view(-1, 1).expand(-1, 3) / 127.5 - 1)


def test_one_folder_alone_is_no_class(tmp_path: Path) -> None:
    assert opened(write(tmp_path / "a", "x.png", "y.png")).label_dim == 0
    assert opened(write(tmp_path / "b", "z/x.png", "z/y.png")).label_dim == 0


def test_the_numbered_folders_of_a_packed_set_are_no_classes(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "00000/img00000999.png", "00001/img00001000.png")
    assert opened(folder).label_dim == 0
    (folder / "dataset.json").write_text(
        json.dumps({"labels": [["00001\\img00001000.png", 1], ["00000/img00000999.png", 0]]})
    )
    assert opened(folder).classes(torch.arange(2)).tolist() == [0, 1]


def test_a_folder_and_a_zip_of_it_are_the_same_set(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "b/1.png", "a/2.png", "a b/3.png", "b/0.png")
    with ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    zipped = ImageZip(ImageZip.Config(path="x.zip"))
    zipped.open(tmp_path)
    dataset = opened(folder)
    index = everything(dataset)
    assert torch.equal(zipped.images(index), dataset.images(index))
    assert torch.equal(zipped.labels(index), dataset.labels(index)) and zipped.names() == dataset.names()
    packed = [picture.name for picture in dataset.pictures(tmp_path)]
    assert packed == ["a/2.png", "a b/3.png", "b/0.png", "b/1.png"]  # by parts, as EDM's tool sorts
    assert [picture.name for picture in zipped.pictures(tmp_path)] == zipped.names()


@pytest.mark.parametrize("memory", ["memory", "file"])
@pytest.mark.parametrize("grey", ["0.png", "9.png"])
def test_grey_images_have_one_channel_and_three_among_colours(grey: str, memory: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "x", grey, mode="L")
    alone = opened(folder)
    assert alone.shape == (1, 4, 4)
    write(folder, "1.png")
    both = opened(folder, memory=memory)
    assert both.shape == (3, 4, 4)
    assert torch.equal(
        both.images(torch.tensor([int(grey == "9.png")])), alone.images(torch.tensor([0])).expand(1, 3, 4, 4)
    )


def test_pictures_are_given_as_they_are_and_in_rgb(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "a/0.png", size=7)
    write(folder, "b/1.png", mode="P")
    write(folder, "b/2.png", mode="RGBA")
    found = list(ImageFolder(ImageFolder.Config(path="x")).pictures(tmp_path))
    assert [(p.name, p.pixels.shape, p.label) for p in found] == [
        ("a/0.png", (7, 7, 3), 0), ("b/1.png", (4, 4, 3), 1), ("b/2.png", (4, 4, 3), 1)
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["none", "file"])
def test_what_is_no_folder_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"{path}: no such folder"):
        opened(tmp_path / path)
