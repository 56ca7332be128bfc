"""Whatever a folder holds, `check`, `pack` and the data sets take it by the same rules, and nothing ends as a bug."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from distillkit_datasets.image_folder import ImageFolder
from distillkit_datasets.image_zip import ImageZip
from image_files import GREY, GREY_ALPHA, RGB, RGBA, exif, noise, png, saved
from PIL import Image

from distillkit.cli.main import main

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")
FORMS = {"png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "jpg": ("L", "RGB", "CMYK"), "webp": ("RGB", "RGBA")}
PLACES = ("", "", "cat/", "dog/", "dog/deep/", ".hidden/", "__MACOSX/")
LABELS: tuple[object, ...] = (0, 1, 2, 7, -1, True, None, "cat", 1.5, 10**30, [0.5, 1], [1, 2], [1], [], [1e300, 0], {})


def picture(rng: np.random.RandomState) -> tuple[str, bytes]:
    """Suffix and bytes of an image of a random kind, mostly 6 x 6."""
    side = 6 if rng.rand() < 0.97 else 5
    if rng.rand() < 0.2:
        kind, channels = [(GREY, 1), (RGB, 3), (GREY_ALPHA, 2), (RGBA, 4)][rng.randint(4)]
        return "png", png(rng.randint(0, 65536, (side, side, channels)), kind, 16)
    form = list(FORMS)[rng.randint(len(FORMS))]
    mode = FORMS[form][rng.randint(len(FORMS[form]))]
    rgba = Image.fromarray(noise(side, side, 4, rng.randint(1000)))
    image = Image.fromarray(rng.randint(0, 65536, (side, side)).astype(np.uint16)) if mode == "I;16" else None
    image = image or (rgba if mode == "RGBA" else rgba.convert("RGB")).convert("L" if mode == "LA" else mode)
    image = image.convert("LA") if mode == "LA" else image
    options: dict[str, object] = {"exif": exif(rng.randint(0, 10))} if rng.rand() < 0.4 else {}
    if rng.rand() < 0.2 and form == "png" and mode in ("1", "L", "P", "RGB", "I;16"):
        options["transparency"] = rng.randint(0, 256) if mode != "RGB" else (1, 2, 3)
    return form, saved(image, {"jpg": "jpeg"}.get(form, form), **options)


def damaged(rng: np.random.RandomState, data: bytes) -> bytes:
    at = rng.randint(len(data))
    return data[:at] if rng.rand() < 0.5 else data[:at] + bytes([rng.randint(256)]) + data[at + 1 :]


def fill(folder: Path, rng: np.random.RandomState) -> list[str]:
    names = []
    for i in range(rng.randint(1, 9)):
        suffix, data = picture(rng)
        name = f"{PLACES[rng.randint(len(PLACES))]}{i}.{suffix}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(damaged(rng, data) if rng.rand() < 0.05 else data)
        names.append(name)
    if rng.rand() < 0.4:
        few = LABELS[: rng.choice([3, 4, len(LABELS)])]
        rows = [[name, few[rng.randint(len(few))]] for name in names if rng.rand() < 0.99]
        rows += [rows[0]] if rows and rng.rand() < 0.2 else []
        text = json.dumps({"labels": rows if rng.rand() < 0.9 else None})
        (folder / "dataset.json").write_bytes(text.encode(["utf-8", "utf-8-sig", "utf-16"][rng.randint(3)]))
    return names


def everything(kind: type, path: Path) -> tuple[torch.Tensor, torch.Tensor | None, list[str]]:
    dataset = kind(kind.Config(path=str(path)))
    dataset.open(path.parent)
    index = torch.arange(len(dataset))
    return dataset.images(index), dataset.labels(index), list(dataset.class_names)


@pytest.mark.parametrize("seed", range(24))
def test_a_random_folder(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, folder = np.random.RandomState(seed), tmp_path / "set"
    folder.mkdir()
    fill(folder, rng)
    with ZipFile(tmp_path / "as-it-is.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    packed, again = tmp_path / "packed.zip", tmp_path / "again.zip"
    given = (["check", folder], ["check", tmp_path / "as-it-is.zip"], ["pack", folder, packed])
    codes = [main(["data", *map(str, line)]) for line in given]
    out = capsys.readouterr()
    assert codes in ([0, 0, 0], [3, 3, 3]), out.err
    assert out.err.isascii() and "bug" not in out.err and "Traceback" not in out.err
    if codes[0]:
        skipped = main(["data", "pack", str(folder), str(again), "--skip-damaged"])
        assert skipped in (0, 3) and (skipped == 3 or main(["data", "check", str(again)]) == 0)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = everything(ImageFolder, folder)
        for found in (everything(ImageZip, tmp_path / "as-it-is.zip"), everything(ImageZip, packed)):
            assert torch.equal(found[0], wanted[0]) and found[2] == wanted[2]
            assert (found[1] is None) == (wanted[1] is None) and (found[1] is None or torch.equal(found[1], wanted[1]))
