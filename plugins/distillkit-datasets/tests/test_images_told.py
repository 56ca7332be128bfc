"""What is left out or odd is told in a line: hidden and loose images, labels listed twice, classes without images."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from distillkit_datasets.image_folder import ImageFolder
from distillkit_datasets.image_set import ImageSet
from distillkit_datasets.image_zip import ImageZip
from image_files import exif, noise, saved
from PIL import Image

from distillkit.cli.main import main
from distillkit.testing import tiny_recipe


def write(folder: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(saved(Image.fromarray(noise(4, 4, 3, i))))
    return folder


def zipped(folder: Path) -> Path:
    with ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                archive.write(path, path.relative_to(folder))
    return folder.with_suffix(".zip")


def opened(path: Path, **keys: object) -> tuple[ImageSet, list[str]]:
    """The set, and what it told."""
    kind = ImageFolder if path.is_dir() else ImageZip
    dataset = kind(kind.Config(path=path.name, **keys))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        dataset.open(path.parent)
    return dataset, [str(each.message).removeprefix(f"{path}: ") for each in told]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_hidden_images_are_left_out_with_a_line(form: str, tmp_path: Path) -> None:
    hidden = (".ipynb_checkpoints/1-checkpoint.png", "__MACOSX/cat/._1.png", "dog/@eaDir/1.png/thumb.jpg", "dog/.2.png")
    folder = write(tmp_path / "x", "cat/1.png", "dog/1.png", *hidden)
    (folder / "__MACOSX/cat/._1.png").write_bytes(b"\0\5\x16\7")
    (folder / ".DS_Store").touch()
    dataset, told = opened(folder if form == "folder" else zipped(folder))
    assert dataset.names() == ["cat/1.png", "dog/1.png"] and dataset.class_names == ["cat", "dog"]
    assert told == ["left out, as hidden: 4 images in .ipynb_checkpoints, __MACOSX, dog/.2.png, dog/@eaDir"]


def test_what_is_hidden_and_holds_no_images_is_not_worth_a_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "1.png")
    (folder / ".git/deep").mkdir(parents=True)
    (folder / ".git/deep/config").touch()
    (folder / ".git/link").symlink_to("/etc")
    os.mkfifo(folder / ".git/pipe")
    assert opened(folder)[1] == []


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_images_beside_class_folders_are_a_class_with_a_name_and_a_line(form: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "cat/1.png", "0.png", "dog/1.png", "3.png")
    dataset, told = opened(folder if form == "folder" else zipped(folder))
    assert told == ["2 images beside the folders of the classes: a class of its own, (no folder)"]
    assert dataset.class_names == ["(no folder)", "cat", "dog"]
    assert dataset.classes(torch.arange(4)).tolist() == [0, 0, 1, 2]


def test_class_folders_that_are_too_deep_are_told(tmp_path: Path) -> None:
    dataset, told = opened(write(tmp_path / "x", "photos/cat/1.png", "photos/dog/1.png"))
    assert told == ["all images lie in photos: classes are folders at the top, so there are none"]
    assert dataset.label_dim == 0
    assert opened(write(tmp_path / "y", "photos/1.png", "photos/2.png"))[1] == []


def table(folder: Path, labels: object, encoding: str = "utf-8", **more: object) -> Path:
    (folder / "dataset.json").write_bytes(json.dumps({"labels": labels, **more}).encode(encoding))
    return folder


def test_labels_listed_twice_or_for_nothing_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "a.png", "b.png")
    dataset, told = opened(table(folder, [["a.png", 0], ["b.png", 1], ["a.png", 0], ["c.png", 5]]))
    assert told == ["dataset.json lists 1 image twice, with the same label: a.png",
                    "dataset.json has labels of 1 image not among those read: c.png"]  # fmt: skip
    assert dataset.classes(torch.arange(2)).tolist() == [0, 1]


def test_a_table_of_labels_that_is_not_at_the_top_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "in/a.png", "in/b.png")
    table(folder / "in", [["a.png", 0], ["b.png", 1]])
    assert opened(folder)[1] == ["in/dataset.json is not at the top, so its labels are not read"]


def test_classes_without_images_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "a.png", "b.png", "c.png")
    dataset, told = opened(table(folder, [["a.png", 1], ["b.png", 2], ["c.png", 12]]))
    assert told == ["10 of 13 classes without images: 0, 3, 4, 5, 6, 7, 8, 9 and 2 more"] and dataset.label_dim == 13
    many = write(tmp_path / "y", *(f"c{i}/{j}.png" for i in range(4) for j in range(2)))
    assert opened(many)[1] == []
    dataset, told = opened(many, max_size=2)
    assert [line.split(":")[0] for line in told] == ["2 of 4 classes without images"] and dataset.label_dim == 4
    assert opened(many, max_size=3, labels=False)[1] == []
    single = write(tmp_path / "z", "a/0.png", "b/0.png", "b/1.png")
    assert opened(single, held_out=2, split_seed=1)[1] == ["1 of 2 classes without images: a"]


def test_a_run_tells_them_once_and_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table(write(tmp_path / "x", *(f"{i}.png" for i in range(4))), [[f"{i}.png", 1] for i in range(4)])
    data = {"dataset": {"use": "image-folder", "path": "x"}, "evaluate": None}
    Path("r.toml").write_text(tiny_recipe("edm", generator={"network": {"use": "mlp", "width": 8}}, **data))
    for command in ("check", "run"):
        assert main([command, "r.toml"]) == 0
        assert capsys.readouterr().err.count("1 of 2 classes without images: 0") == 1, command
    assert Path("runs/0001-r/log.txt").read_text().count("classes without images") == 1


def test_the_names_of_classes_stay_in_the_zip(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "dog/1.png", "cat/1.png")
    assert main(["data", "pack", str(folder), str(tmp_path / "a.zip")]) == 0
    with ZipFile(tmp_path / "a.zip") as archive:
        names = [name for name in archive.namelist() if name != "dataset.json"]
        text = archive.read("dataset.json").decode()
    assert json.loads(text) == {"labels": [[names[0], 0], [names[1], 1]], "class_names": ["cat", "dog"]}
    assert opened(tmp_path / "a.zip")[0].class_names == ["cat", "dog"]
    assert main(["data", "pack", str(tmp_path / "a.zip"), str(tmp_path / "b.zip")]) == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_class_with_a_name_and_no_images_keeps_its_number(tmp_path: Path) -> None:
    folder = table(write(tmp_path / "x", "a.png"), [["a.png", 0]], class_names=["cat", "dog"])
    dataset, told = opened(folder)
    assert dataset.label_dim == 2 and told == ["1 of 2 classes without images: dog"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_labels_may_begin_with_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    folder = table(write(tmp_path / "x", "a.png", "b.png"), [["a.png", 1], ["b.png", 0]], encoding)
    assert opened(folder)[0].classes(torch.arange(2)).tolist() == [1, 0]


def test_a_folder_a_thousand_deep_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, here, depth = write(tmp_path / "x", "a.png"), os.getcwd(), 1050  # Python's calls go 1,000 deep
    os.chdir(folder)
    try:
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        Path("b.png").symlink_to("a.png")
        os.chdir(here)
        assert main(["data", "check", str(folder)]) == 3
        assert "d/b.png: is neither a plain file" in capsys.readouterr().err
    finally:  # neither can shutil.rmtree
        os.chdir(folder)
        for _ in range(depth):
            os.chdir("d")
        Path("b.png").unlink(missing_ok=True)
        for _ in range(depth):
            os.chdir("..")
            os.rmdir("d")
        os.chdir(here)


@pytest.mark.parametrize(("flags", "done"), [([], "turned upright"), (["--orientation", "stored"], "left as stored")])
def test_a_photo_is_packed_as_its_camera_was_held(
    flags: list[str], done: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of a portrait, white at the top; `turned` tells that they are to be shown clockwise by a quarter."""
    u = noise(40, 32, 3) // 8
    u[:8] = 255
    (tmp_path / "x").mkdir()
    (tmp_path / "x/plain.jpg").write_bytes(saved(Image.fromarray(u), "jpeg"))
    (tmp_path / "x/turned.jpg").write_bytes(saved(Image.fromarray(u), "jpeg", exif=exif(6)))
    arguments = ["data", "pack", str(tmp_path / "x"), str(tmp_path / "x.zip"), "--resolution", "16"]
    assert main([*arguments, "--transform", "center-crop", *flags]) == 0
    assert f"x: 1 image with an EXIF orientation, {done}" in capsys.readouterr().err
    plain, turned = (opened(tmp_path / "x.zip")[0].images(torch.arange(2)) + 1) * 127.5
    assert plain[:, 0, 8].min() > 200 and plain[:, 15, 0].max() < 50
    assert torch.equal(turned, plain) if flags else (turned[:, 8, 15].min() > 200 and turned[:, 0, 0].max() < 50)
