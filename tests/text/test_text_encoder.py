"""From captions to a student that draws by prompts: the encoder, the pack, the run, the commands."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

import distillkit
from distillkit.api import InputError, UsageError
from distillkit.cli.main import main
from distillkit.testing.words import tiny_text_encoder
from distillkit.text.encoder import TextEncoder

pytest.importorskip("transformers")
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
RECIPE = """
schema = 1
[run]
kimg = 0.032
batch = 16
device = "cpu"
threads = 1
grid = 10
[dataset]
use = "image-zip"
path = "digits.zip"
max_size = 64
[generator]
init = "scratch"
network = { use = "mlp", width = 8, depth = 1 }
[sample]
use = "one-step"
[generator_loss]
use = "edm"
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text_encoder(tmp_path_factory.mktemp("words") / "encoder", ["a", "small", *NAMES], width=4)


@pytest.fixture(scope="module")
def packed(encoder: Path) -> Path:
    out = encoder.parent / "digits.zip"
    captions = ["--class-names", ",".join(NAMES), "--captions", "a small {class}"]
    assert main(["data", "pack", "digits", str(out), *captions, "--text-encoder", str(encoder)]) == 0
    return out


def test_the_same_words_are_the_same_row_in_any_batch(encoder: Path) -> None:
    made = TextEncoder(encoder)
    alone, among = made(["five"], 5), made(["a small five", "five", ""], 5)
    assert alone.layout == among.layout and alone.layout.width == 4
    torch.testing.assert_close(alone.rows()[0], among.rows()[1])
    assert among.mask.sum(1).tolist() == [5, 3, 2]
    assert made.longest(["five", "a small five"]) == 5 and made(["a small five"], 3).cut == ["a small five"]


def test_an_encoder_is_known_by_its_content(encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder, tmp_path / "copy")
    assert TextEncoder(tmp_path / "copy").sha256 == TextEncoder(encoder).sha256
    (tmp_path / "copy" / "config.json").write_text(json.dumps(json.loads((encoder / "config.json").read_text())))
    assert TextEncoder(tmp_path / "copy").sha256 != TextEncoder(encoder).sha256


def test_what_is_no_encoder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no text encoder: a folder with config.json"):
        TextEncoder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(InputError, match="makes no text encoder"):
        TextEncoder(tmp_path)


def test_without_transformers_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'distillkit[text]'")):
        TextEncoder(tmp_path)


def test_a_set_of_captions_says_what_it_is(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(packed)]) == 0
    assert "1797 images, 8x8x1, captions as labels of 29 numbers: 5 tokens" in capsys.readouterr().out


@pytest.fixture(scope="module")
def student(packed: Path) -> Path:
    """A run that trains on words for two iterations."""
    recipe = packed.with_name("words.toml")
    recipe.write_text(RECIPE)
    assert main(["run", str(recipe), "--runs", str(packed.parent / "runs")]) == 0
    (run,) = (packed.parent / "runs").glob("0001-*")
    return run / "result"


def test_a_student_draws_by_prompts_without_its_run(student: Path, encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(student, tmp_path / "student")
    made = distillkit.load(tmp_path / "student")
    assert "words" in repr(made) and made.prompts.words[5] == "a small five"
    five, turns = made(2, prompts=["a small five"]), made(10)
    torch.testing.assert_close(five[0], made.sample(*_asked(made, 0, 5))[0])
    assert turns.shape == (10, 1, 8, 8)
    assert made(1, prompts=["five small"], text_encoder=encoder).shape == (1, 1, 8, 8)
    assert not torch.equal(made.rows(["five small"], 1, encoder), made.rows(["a small five"], 1))


def _asked(made: distillkit.Student, seed: int, prompt: int) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(made.shape, generator=torch.Generator().manual_seed(seed))
    return z[None], made.prompts.rows[prompt][None]


def test_unknown_prompts_need_the_encoder_and_the_right_one(student: Path, encoder: Path, tmp_path: Path) -> None:
    made = distillkit.load(student)
    other = tiny_text_encoder(tmp_path / "other", ["a", "five"], width=4, seed=1)
    with pytest.raises(UsageError, match="another text encoder than that of the data"):
        made(1, prompts=["five"], text_encoder=other)
    made.prompts.encoder["path"] = "gone"
    with pytest.raises(UsageError, match=r"'five' is none of the known prompts.*--text-encoder FOLDER; gone is not"):
        made(1, prompts=["five"])
    with pytest.raises(UsageError, match="its labels are words: ask by prompts"):
        made(1, labels=[3])
    with pytest.raises(UsageError, match="guidance: this student takes no scale"):
        made(1, guidance=2.0)


def test_sample_takes_a_file_of_prompts(student: Path, encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a small two\n\na small three\n")
    out = tmp_path / "x.npz"
    assert main(["sample", str(student), "-n", "3", "--prompts", str(tmp_path / "p.txt"), "--out", str(out)]) == 0
    import numpy as np

    assert np.load(out)["prompts"].tolist() == ["a small two", "a small three", "a small two"]
    assert main(["sample", str(student), "-n", "10", "--out", str(tmp_path / "x.png")]) == 0


def test_an_export_keeps_its_prompts(student: Path, tmp_path: Path) -> None:
    assert main(["export", str(student), "--to", "safetensors", str(tmp_path / "out")]) == 0
    assert distillkit.load(tmp_path / "out").prompts.words == distillkit.load(student).prompts.words
