"""Captions in dataset.json, and rows of labels made of them, as a packed set holds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from distillkit_datasets.digits import Digits
from distillkit_datasets.image_folder import ImageFolder
from PIL import Image

from distillkit.api import InputError, Layout
from distillkit.images.pack import pack

WORDS = {"a.png": "a cat", "b.png": "a dog", "c.png": "a cat"}
ROWS = {"tokens": torch.arange(12.0).view(2, 3, 2).half(), "mask": torch.ones(2, 3, dtype=torch.uint8)}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def make(captions: Any = WORDS, rows: Any = ROWS, **table: Any) -> Path:
        for i, name in enumerate("abc"):
            Image.fromarray(np.full((4, 4), 60 * i, np.uint8)).save(tmp_path / f"{name}.png")
        (tmp_path / "dataset.json").write_text(json.dumps({"captions": captions, **table}))
        if rows:
            (tmp_path / "words").mkdir()
            safetensors.torch.save_file(rows, tmp_path / "words" / "00000.safetensors")
        return tmp_path

    return make


def opened(path: Path, **keys: Any) -> ImageFolder:
    made = ImageFolder(ImageFolder.Config(path=str(path), **keys))
    made.open(Path.cwd())
    return made


def test_embedded_captions_are_the_labels(folder: Callable[..., Path]) -> None:
    found = opened(folder(labels=[["a.png", 0], ["b.png", 1], ["c.png", 0]]))
    index = torch.arange(3)
    assert found.layout == Layout(tokens=3, width=2) and found.label_dim == 9
    asked = found.layout.unpack(found.labels(index))
    assert torch.equal(asked.tokens, ROWS["tokens"][[0, 1, 0]].float())
    assert found.words(index) == ["a cat", "a dog", "a cat"] and found.classes(index).tolist() == [0, 1, 0]
    assert found.prompts.words == ("a cat", "a dog") and torch.equal(found.prompts.rows[1], found.labels(index)[1])


def test_classes_are_the_labels_where_words_are_not_wanted_or_not_embedded(folder: Callable[..., Path]) -> None:
    path = folder(labels=[["a.png", 0], ["b.png", 1], ["c.png", 0]])
    found = opened(path, words=False)
    assert found.label_dim == 2 and found.prompts is None and found.words(torch.tensor([1])) == ["a dog"]
    (path / "words" / "00000.safetensors").unlink()
    assert opened(path).layout == Layout(classes=2)


def test_images_that_are_held_out_have_their_captions(folder: Callable[..., Path]) -> None:
    found = opened(folder(), held_out=1)
    (left,) = found.held_out().words(torch.arange(1))
    assert sorted([left, *found.words(torch.arange(2))]) == ["a cat", "a cat", "a dog"]


@pytest.mark.parametrize(
    ("captions", "rows", "told"),
    [
        ({"a.png": "x", "b.png": "y"}, None, "c.png: dataset.json has no caption for it"),
        ({**WORDS, "a.png": "x\ny"}, None, "a.png: a caption is one line"),
        ({**WORDS, "a.png": 3}, None, "a.png: a caption is one line"),
        ("x", None, "captions of dataset.json must be"),
        (WORDS, {"tokens": torch.ones(3, 2, 2), "mask": torch.ones(3, 2)}, "rows of 3 captions, and dataset.json 2"),
        (WORDS, {"tokens": torch.ones(2, 2, 2)}, "must hold tokens [U,T,W], mask"),
        (WORDS, {"tokens": torch.ones(2, 2, 2) / 0, "mask": torch.ones(2, 2)}, "not finite"),
    ],
)
def test_what_is_no_caption_is_refused(folder: Callable[..., Path], captions: Any, rows: Any, told: str) -> None:
    with pytest.raises(InputError) as refused:
        opened(folder(captions, rows))
    assert told in str(refused.value)


def test_captions_go_through_a_pack(folder: Callable[..., Path], tmp_path: Path) -> None:
    source = ImageFolder(ImageFolder.Config(path=str(folder(rows=None))))
    pack(source.pictures(Path.cwd()), tmp_path / "out.zip", None)
    from distillkit_datasets.image_zip import ImageZip

    packed = ImageZip(ImageZip.Config(path=str(tmp_path / "out.zip")))
    packed.open(Path.cwd())
    assert packed.words(torch.arange(3)) == ["a cat", "a dog", "a cat"] and packed.label_dim == 0


def test_digits_are_pictures_too() -> None:
    first = next(iter(Digits(Digits.Config()).pictures(Path.cwd())))
    assert first.pixels.shape == (8, 8, 1) and first.pixels.dtype == np.uint8 and first.label == 0
