"""`image-zip` gives what EDM's own loader gave for the same file."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from distillkit_datasets.image_zip import ImageZip
from PIL import Image

from distillkit.api import InputError
from distillkit.cli.main import main

DATA = Path(__file__).parent / "data"
EDM = np.load(DATA / "edm_dataset_tiny_io.npz")
CASES = {
    "plain": {},
    "uncond": {"labels": False},
    "xflip": {"xflip": True},
    "max5": {"max_size": 5},
    "max5_s3": {"max_size": 5, "max_size_seed": 3},
}


def opened(folder: Path = DATA, path: str = "edm_dataset_tiny.zip", **keys: object) -> ImageZip:
    dataset = ImageZip(ImageZip.Config(path=path, **keys))
    dataset.open(folder)
    return dataset


def everything(dataset: ImageZip) -> torch.Tensor:
    return torch.arange(len(dataset))


def entries() -> dict[str, bytes]:
    with ZipFile(DATA / "edm_dataset_tiny.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, content: dict[str, bytes], method: int = 0) -> None:
    with ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("memory", ["memory", "file"])
@pytest.mark.parametrize("case", CASES)
def test_images_labels_and_order_are_those_of_the_reference_loader(case: str, memory: str) -> None:
    dataset = opened(memory=memory, **CASES[case])
    index = everything(dataset)
    u = torch.from_numpy(EDM[f"{case}/images"])
    assert torch.equal(dataset.images(index), u.float() / 127.5 - 1)
    labels = dataset.labels(index)
    assert dataset.label_dim == EDM[f"{case}/label_dim"]
    assert labels is None if dataset.label_dim == 0 else np.array_equal(labels, EDM[f"{case}/labels"])
    raw = EDM[f"{case}/raw_idx"][: len(dataset.names())]
    assert dataset.names() == [f"00000/img{i:08d}.png" for i in raw]


def test_the_recorded_names_are_sorted_and_stored() -> None:
    assert opened().names() == sorted(name for name in EDM["names"].tolist() if name.endswith(".png"))


def test_classes_are_known_also_without_labels() -> None:
    dataset = opened(labels=False)
    assert dataset.classes(everything(dataset)).tolist() == EDM["plain/labels"].argmax(1).tolist()


def test_held_out_images_are_stratified_unmirrored_and_none_of_the_others() -> None:
    dataset = opened(held_out=3, xflip=True)
    held_out = dataset.held_out()
    assert (len(dataset), len(held_out)) == (18, 3) and held_out.held_out() is None
    assert sorted(held_out.classes(everything(held_out)).tolist()) == [0, 1, 2]
    assert sorted(dataset.names() + held_out.names()) == opened().names()
    assert torch.equal(dataset.images(torch.arange(9, 18)), dataset.images(torch.arange(9)).flip(-1))
    assert opened(held_out=3).names() == dataset.names() != opened(held_out=3, split_seed=1).names()


def test_a_second_file_can_be_held_out_and_must_be_alike(tmp_path: Path) -> None:
    content = entries()
    last = {name: content[name] for name in list(content)[:5]}
    last["dataset.json"] = json.dumps({"labels": [[name, 1] for name in last]}).encode()
    write(tmp_path / "val.zip", last)
    write(tmp_path / "train.zip", content)
    held_out = opened(tmp_path, "train.zip", held_out_path="val.zip", xflip=True).held_out()
    assert len(held_out) == 5 and torch.equal(held_out.labels(torch.tensor([4])), torch.eye(3)[[1]])
    with pytest.raises(InputError, match=r"train.zip: 16x16x3 with 3 labels, but val.zip is 16x16x3 with 2"):
        opened(tmp_path, "val.zip", held_out_path="train.zip")


@pytest.mark.parametrize("keys", [{"held_out": 12}, {"held_out": 2, "held_out_path": "x.zip"}])
def test_what_cannot_be_held_out_is_refused(keys: dict[str, object]) -> None:
    with pytest.raises(InputError, match="held_out"):
        opened(**keys)


def test_vectors_are_labels_too_and_deflated_entries_are_read(tmp_path: Path) -> None:
    content = entries()
    names = opened().names()
    content["dataset.json"] = json.dumps({"labels": [[name, [0.5, i]] for i, name in enumerate(names)]}).encode()
    write(tmp_path / "vectors.zip", content, ZIP_DEFLATED)
    dataset = opened(tmp_path, "vectors.zip")
    assert dataset.label_dim == 2 and dataset.labels(torch.tensor([7])).tolist() == [[0.5, 7.0]]
    assert dataset.classes(torch.tensor([7])) is None


@pytest.mark.parametrize(("labels", "dim"), [(b'{"labels": null}', 0), (None, 0), (b'{"labels": []}', "refused")])
def test_labels_are_all_or_none(tmp_path: Path, labels: bytes | None, dim: int | str) -> None:
    content = entries()
    content.pop("dataset.json")
    write(tmp_path / "x.zip", content | ({"dataset.json": labels} if labels else {}))
    if isinstance(dim, int):
        assert opened(tmp_path, "x.zip").label_dim == dim
    else:
        with pytest.raises(InputError, match=r"x\.zip: 00000/img00000000\.png: dataset\.json has no label"):
            opened(tmp_path, "x.zip")


def test_an_image_of_another_size_is_named_when_it_is_read(tmp_path: Path) -> None:
    content, odd = entries(), BytesIO()
    Image.new("RGB", (8, 8)).save(odd, "png")
    content["00000/img00000007.png"] = odd.getvalue()
    write(tmp_path / "odd.zip", content)
    message = r"odd\.zip: 00000/img00000007\.png: 8x8x3, the first is 16x16x3"
    with pytest.raises(InputError, match=message):
        opened(tmp_path, "odd.zip", memory="memory")
    dataset = opened(tmp_path, "odd.zip", memory="file")
    dataset.images(torch.arange(7))
    with pytest.raises(InputError, match=message):
        dataset.images(torch.tensor([7]))


def test_packing_the_reference_file_gives_its_names_labels_and_images_again(tmp_path: Path) -> None:
    assert main(["data", "pack", str(DATA / "edm_dataset_tiny.zip"), str(tmp_path / "again.zip")]) == 0
    with ZipFile(tmp_path / "again.zip") as archive:
        assert archive.namelist() == EDM["names"].tolist()
        assert [info.compress_type for info in archive.infolist()] == EDM["compress"].tolist()
        assert archive.read("dataset.json").decode() == str(EDM["dataset_json"])
    again = opened(tmp_path, "again.zip")
    assert torch.equal(again.images(everything(again)), opened().images(everything(again)))
