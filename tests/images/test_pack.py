"""Packing: EDM's layout and byte-for-byte repeatable files; crops and sizes worked out by hand."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest
from PIL import Image

from distillkit.api import InputError, Picture, UsageError
from distillkit.images.pack import center_crop, center_crop_dhariwal, center_crop_wide, pack, resize


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (height, width, channels), np.uint8)


def lanczos(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def test_resizing_is_lanczos_and_leaves_the_right_size_alone() -> None:
    pixels = noise(10, 14)
    assert np.array_equal(resize(pixels, 6, 4), lanczos(pixels, 6, 4))
    assert resize(pixels, 14, 10) is pixels
    assert np.array_equal(resize(noise(9, 9, 1), 4, 4)[:, :, 0], lanczos(noise(9, 9, 1)[:, :, 0], 4, 4))


@pytest.mark.parametrize(("height", "width", "rows", "columns"), [
    (6, 10, slice(0, 6), slice(2, 8)), (11, 4, slice(3, 7), slice(0, 4)), (5, 5, slice(0, 5), slice(0, 5)),
])  # fmt: skip
def test_the_largest_square_in_the_middle_is_cropped(height: int, width: int, rows: slice, columns: slice) -> None:
    pixels = noise(height, width)
    assert np.array_equal(center_crop(pixels, 3, 3), lanczos(pixels[rows, columns], 3, 3))


def test_a_grey_image_becomes_rgb_when_it_is_cropped() -> None:
    grey = noise(4, 6, 1)
    assert np.array_equal(center_crop(grey, 4, 4), grey[:, 1:5].repeat(3, axis=2))


def test_a_wide_crop_lies_on_black() -> None:
    pixels = noise(12, 16)  # 8 columns of it have 6 rows: rows 3 to 8
    wide = center_crop_wide(pixels, 8, 6)
    assert wide.shape == (8, 8, 3) and not wide[[0, 7]].any()
    assert np.array_equal(wide[1:7], lanczos(pixels[3:9], 8, 6))
    assert center_crop_wide(noise(12, 7), 8, 6) is None and center_crop_wide(noise(4, 16), 8, 6) is None


def written(path: Path) -> tuple[list[str], list[np.ndarray], object]:
    with ZipFile(path) as archive:
        assert all(info.compress_type == ZIP_STORED for info in archive.infolist())
        *names, last = archive.namelist()
        images = [np.array(Image.open(BytesIO(archive.read(name)))) for name in names]
        return names, images, json.loads(archive.read(last))["labels"]


def test_the_layout_is_that_of_edm_and_the_file_repeats(tmp_path: Path) -> None:
    pictures = [Picture(f"{i}.png", noise(4, 4, seed=i), i % 2) for i in range(1002)]
    packed = pack(pictures, tmp_path / "a.zip", None)
    pack(pictures, tmp_path / "b.zip", None)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]
    names, images, labels = written(tmp_path / "a.zip")
    assert names[0] == "00000/img00000000.png" and names[1001] == "00001/img00001001.png"
    assert all(np.array_equal(image, picture.pixels) for image, picture in zip(images, pictures, strict=True))
    assert labels == [[name, i % 2] for i, name in enumerate(names)]
    assert (packed.images, packed.shape, packed.labels) == (1002, (4, 4, 3), 1002)


def test_labels_are_written_for_all_images_or_for_none(tmp_path: Path) -> None:
    pack([Picture("a", noise(4, 4), 1), Picture("b", noise(4, 4))], tmp_path / "a.zip", None)
    assert written(tmp_path / "a.zip")[2] is None


def test_images_that_are_too_small_are_left_out_and_counted(tmp_path: Path) -> None:
    pictures = [Picture("small", noise(3, 4)), Picture("large", noise(12, 16))]
    packed = pack(pictures, tmp_path / "a.zip", (8, 6), "center-crop-wide")
    assert (packed.images, packed.left_out) == (1, 1)
    assert written(tmp_path / "a.zip")[0] == ["00000/img00000001.png"]


@pytest.mark.parametrize(("pictures", "size", "message"), [
    ([], None, "no images to pack"),
    ([Picture("a/x.png", noise(4, 6))], None, "a/x.png: 6x4x3 is not square"),
    ([Picture("x", noise(4, 4)), Picture("y", noise(5, 5))], None, "y: 5x5x3, the first image is 4x4x3"),
    ([Picture("x", noise(4, 4)), Picture("y", noise(4, 4, 1))], (2, 2), "y: 2x2x1, the first image is 2x2x3"),
])  # fmt: skip
def test_what_does_not_fit_is_named_and_nothing_is_left_behind(
    tmp_path: Path, pictures: list[Picture], size: tuple[int, int] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        pack(pictures, tmp_path / "a.zip", size)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        pack([Picture("x", noise(4, 4))], tmp_path / "a.zip", None)
    with pytest.raises(UsageError, match="needs a --resolution"):
        pack([Picture("x", noise(4, 4))], tmp_path / "b.zip", None, "center-crop")
    with pytest.raises(UsageError, match="is no folder"):
        pack([Picture("x", noise(4, 4))], tmp_path / "none" / "b.zip", None)
    assert (tmp_path / "a.zip").read_bytes() == b"mine"


def test_dhariwals_crop_halves_then_fits_the_shorter_side_then_cuts_the_middle() -> None:
    pixels = noise(22, 45)
    half = Image.fromarray(pixels).resize((22, 11), Image.Resampling.BOX)  # 22 is twice 10 and more, 11 is not
    fitted = np.array(half.resize((20, 10), Image.Resampling.BICUBIC))
    assert np.array_equal(center_crop_dhariwal(pixels, 10, 10), fitted[:, 5:15])
    assert center_crop_dhariwal(noise(7, 4, 1), 8, 8).shape == (8, 8, 3), "small ones grow, grey ones become RGB"


def test_a_strip_is_no_photo_for_dhariwals_crop_which_would_resize_all_of_it(tmp_path: Path) -> None:
    pictures = [Picture("strip", noise(2, 201)), Picture("wide", noise(2, 200))]
    with pytest.raises(InputError, match="strip: 201x2: one side is more than 100 times the other"):
        pack(pictures, tmp_path / "x.zip", (4, 4), "center-crop-dhariwal")
    made = pack(pictures, tmp_path / "x.zip", (4, 4), "center-crop-dhariwal", skip_damaged=True)
    assert made.images == 1 and [fault.split(":")[0] for fault in made.damaged] == ["strip"]


def test_latents_are_packed_as_arrays_under_edm2s_names(tmp_path: Path) -> None:
    made = pack([Picture("a", noise(4, 4), 1)], tmp_path / "x.zip", None, encode=lambda u: u.transpose(2, 0, 1) / 2)
    with ZipFile(tmp_path / "x.zip") as archive:
        assert archive.namelist() == ["00000/img-mean-std-00000000.npy", "dataset.json"]
        array = np.load(BytesIO(archive.read("00000/img-mean-std-00000000.npy")))
        assert json.loads(archive.read("dataset.json")) == {"labels": [["00000/img-mean-std-00000000.npy", 1]]}
    assert np.array_equal(array, noise(4, 4).transpose(2, 0, 1) / 2) and made.images == made.labels == 1
