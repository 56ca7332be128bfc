"""A folder of diffusers in recipes: guided, in bfloat16, and as the teacher of a whole run."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_pipelines import write

from distillkit.cli.main import main
from distillkit.testing.toys import toy_state

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("diffusers"), reason="diffusers is not installed")
TABLES: dict[str, Any] = {
    "dataset": {"channels": 3, "label_dim": 4},
    "generator": {"init": "scratch", "network": {"use": "mlp", "width": 8, "depth": 1}},
}
RECIPE = """
schema = 1

[run]
kimg = 0.032
batch = 8
grid = 4

[dataset]
use = "digits"
conditional = false

[teacher_score]
use = "diffusers"
folder = "pipeline"

[generator]
init = "scratch"

[generator.network]
use = "unet2d"
block_out_channels = [8, 16]
layers_per_block = 1
norm_num_groups = 4
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]

[generator.optimizer]
lr = 1e-4

[sample]
use = "one-step"

[generator_loss]
use = "sid"
lr = 1e-4
noise = "lognormal"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))


def state(**run: Any) -> Any:
    guided = {"use": "classifier-free", "scale": 2.0}
    return toy_state(
        **TABLES, teacher_score={"use": "diffusers", "folder": "pipeline", "guidance": guided}, run=run
    )  # fmt: skip


def test_guidance_leaves_out_its_classes(tmp_path: Path) -> None:
    write(tmp_path / "pipeline", "guided classes")
    made = state(precision="fp64")
    x, sigma, labels = torch.randn(4, 3, 8, 8).double(), torch.ones(4, 1, 1, 1).double(), torch.eye(4).double()
    with_class, without = made.teacher.network(x, sigma, labels), made.teacher.network(x, sigma)
    torch.testing.assert_close(made.teacher_score(x, sigma, labels), without + 2 * (with_class - without))
    assert not torch.allclose(with_class, without)


def test_words_of_a_data_set_are_what_the_model_reads(tmp_path: Path) -> None:
    model = write(tmp_path / "pipeline", "toy captions")
    tables = {**TABLES, "dataset": {"channels": 4, "label_dim": 3, "tokens": 5}}
    made = toy_state(**tables, teacher_score={"use": "diffusers", "folder": "pipeline"})
    x, labels = torch.randn(3, 4, 8, 8), made.dataset.labels(torch.arange(3))
    asked = made.dataset.layout.unpack(labels)
    D = made.teacher_score(x, 1.0, labels)  # t = 1/2, x_t = x / 2
    said = model(x / 2, asked.tokens, asked.pooled, torch.full((3,), 500.0)).sample
    torch.testing.assert_close(D, x / 2 - said / 2, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(D, made.teacher_score(x, 1.0, None))


@pytest.mark.parametrize("run", [{"precision": "bf16"}, {"teacher_dtype": "bf16"}])
def test_layers_in_bfloat16_round_no_images(tmp_path: Path, run: dict[str, Any]) -> None:
    write(tmp_path / "pipeline", "guided classes")
    exact, made = state(), state(**run)
    x, sigma, labels = torch.randn(4, 3, 8, 8), torch.full((4, 1, 1, 1), 0.05), torch.eye(4)
    D, known = made.teacher_score(x, sigma, labels), exact.teacher_score(x, sigma, labels)
    assert D.dtype == torch.float32 and not torch.equal(D, known)
    assert (D - known).abs().max() < 0.02 * (known - x).abs().max()  # of the noise that it sees


def test_a_folder_teaches_a_student_of_another_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "pipeline", "grey")
    Path("student.toml").write_text(RECIPE)
    assert main(["check", "student.toml"]) == 0
    assert main(["run", "student.toml"]) == 0, capsys.readouterr().err
    assert main(["check-teacher", "student.toml", "--images", "16"]) == 3  # its weights are random
    assert "the teacher is wrong" in capsys.readouterr().out
    (result,) = Path("runs").glob("*/result/student.json")
    assert json.loads(result.read_text())["network"]["use"] == "unet2d"
    Path("pipeline/unet/config.json").write_text("{}")
    assert main(["check", "student.toml"]) == 3
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ") and "_class_name = None" in told
