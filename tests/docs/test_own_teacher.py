"""docs/teacher.md as a newcomer follows it: a network of one's own, a folder of diffusers, a pickle of EDM."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from distillkit.cli.main import main
from distillkit.new import New, generate
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/teacher.md").read_text(encoding="utf-8")
PICKLE = ROOT / "plugins/distillkit-edm/tests/data/ect_tiny.pkl"
SHORT = [
    "--set", "run.kimg=0.016", "--set", "run.batch=8", "--set", "run.grid=4", "--set", "run.threads=1",
    "--set", "run.device=\"cpu\"",
]  # fmt: skip


def block(mark: str, language: str = "toml") -> str:
    """The fenced block after some text."""
    found = re.search(rf"{re.escape(mark)}.*?```{language}\n(.*?)```", PAGE, re.S)
    assert found, f"the page has no {mark}"
    return found[1]


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[[str], Path]:
    """Writes the recipe of a walk and trains with few images -> the student's result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))

    def walked(name: str) -> Path:
        Path("student.toml").write_text(block(f"<!-- walk: {name} -->"))
        assert main(["check", "student.toml"]) == 0, capsys.readouterr().err
        assert main(["run", "student.toml", *SHORT]) == 0, capsys.readouterr().err
        assert main(["sample", "runs/0001-student", "-n", "4", "--out", "four.png"]) == 0
        return Path("runs/0001-student/result")

    return walked


def test_a_network_that_you_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, walk: Callable[[str], Path]) -> None:
    files = generate(New.checked("my-dit", "teacher_score"), tmp_path)
    (written,) = [path for path in files if path.name == "teacher_score.py"]
    assert block("<!-- the same text as the template", "python") == written.read_text()
    top = written.parents[1]
    about = top / "distillkit_my_dit-0.1.0.dist-info"  # as pip leaves it
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: distillkit-my-dit\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text("[distillkit.network]\nmy-dit = distillkit_my_dit.teacher_score:MyDit\n")
    monkeypatch.syspath_prepend(str(top))
    module = importlib.import_module("distillkit_my_dit.teacher_score")
    torch.manual_seed(0)
    own = module.MyDit(module.MyDit.Config(patch=2)).module(resolution=8, channels=1, label_dim=10)
    safetensors.torch.save_file(own.state_dict(), tmp_path / "my_dit.safetensors")
    card = json.loads((walk("network") / "student.json").read_text())
    assert card["network"]["use"] == "converted" and card["network"]["network"]["use"] == "my-dit"


def test_a_folder_of_diffusers(tmp_path: Path, walk: Callable[[str], Path]) -> None:
    catalog = Catalog.installed()
    table = {"use": "unet2d", "block_out_channels": [8, 16], "norm_num_groups": 4, "layers_per_block": 1,
             "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
             "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "attention_head_dim": 4}  # fmt: skip
    torch.manual_seed(0)
    made = choice_from_table("network", table, catalog, "here").build().module(8, 1, 10)
    made.card = {"network": table, "resolution": 8, "channels": 1, "label_dim": 10}
    importer = catalog.load("importer", "diffusers.folder")
    assert importer(importer.Config()).write(tmp_path / "my-unet", made.eval())
    assert json.loads((walk("folder") / "student.json").read_text())["network"]["use"] == "unet2d"


def test_a_pickle_of_edm(tmp_path: Path, walk: Callable[[str], Path]) -> None:
    shutil.copy(PICKLE, tmp_path / "edm-cifar10-32x32-uncond-vp.pkl")  # 16 px, and small
    (tmp_path / "images").mkdir()
    draw = np.random.default_rng(0)
    for n in range(8):
        Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / f"images/{n}.png")
    assert main(["data", "pack", "images", "images.zip", "--resolution", "16"]) == 0
    assert json.loads((walk("pickle") / "student.json").read_text())["network"]["use"] == "edm-ddpmpp"
