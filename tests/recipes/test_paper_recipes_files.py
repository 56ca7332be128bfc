"""A paper's recipe with files of the published make under the published names: a pickle of EDM's, a zip of images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from distillkit.api import Picture
from distillkit.assets.folder import folder
from distillkit.cli.main import main
from distillkit.images.pack import pack

ROOT = Path(__file__).parents[2]
PICKLE = ROOT / "plugins/distillkit-edm/tests/data/edm_ncsnpp_tiny.pkl"  # written by EDM's code: 16 px, no classes
SHORT = (
    "run.kimg=0.008", "run.tick_kimg=0.004", "run.batch=4", "run.micro_batch=2", "run.device=cpu", "run.threads=1",
    "evaluate=[]", "auxiliary_loss.0.copies=1", "auxiliary_loss.0.real_batch=8",
    "generator_loss.generator_after_kimg=0", "generator_loss.gan_after_kimg=0",
)  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    folder().mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    pack((Picture(str(i), x) for i, x in enumerate(pixels)), folder() / "afhqv2-64x64.zip", None)
    shutil.copy(PICKLE, folder() / "edm-afhqv2-64x64-uncond-vp.pkl")
    return tmp_path


def test_assets_by_name_train_a_student_whose_recipe_keeps_the_names(home, capsys):
    sets = [word for text in SHORT for word in ("--set", text)]
    recipe = home / "afhq_sida_el.toml"
    recipe.write_text('schema = 1\nextends = "afhq_sida_el"\nrun.keep_best.remove = true\n')  # its metric is left out
    assert main(["run", str(recipe), *sets]) == 0, capsys.readouterr().err
    (run,) = (home / "runs").glob("0*")
    resolved = (run / "resolved.toml").read_text()
    assert 'checkpoint = "edm-afhqv2-64x64-uncond-vp.pkl"' in resolved and 'path = "afhqv2-64x64.zip"' in resolved
    assert str(home) not in resolved
    card = json.loads((run / "result/student.json").read_text())
    assert (card["network"]["use"], card["resolution"], card["label_dim"]) == ("edm-ncsnpp", 16, 0)
    assert main(["run", str(recipe), *sets]) == 0 and "reuse" in capsys.readouterr().out
