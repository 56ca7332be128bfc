"""From captions to a folder of diffusers by the recipes that are shipped, with networks that learn nothing."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from distillkit.cli.main import main

pytest.importorskip("transformers", reason="prompts were not tried from end to end: transformers is missing")
pytest.importorskip("diffusers", reason="prompts were not tried from end to end: diffusers is missing")

ROOT = Path(__file__).parents[2]
DIGITS = "zero,one,two,three,four,five,six,seven,eight,nine"
SMALL = """
[run]
kimg = 0.128
[generator.optimizer]
warmup_kimg = 0.0
[[evaluate]]
use = "frechet"
images = 24
final_seeds = 1
features = { use = "digits-classifier", iterations = 10, passes = 1 }
"""
TEACHER = f"""schema = 1
extends = "digits_text_teacher"
{SMALL}
[generator.network]
hidden_size = 16
depth = 1
num_heads = 2
"""
STUDENT = f"""schema = 1
extends = "digits_text_sid_lora"
{SMALL}
[generator_loss]
warmup_kimg = 0.0
[teacher_score]
from = "teacher.toml"
[generator.adapter]
rank = 2
"""


def test_captions_become_a_student_of_adapters_that_leaves_as_a_folder_of_diffusers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    example = runpy.run_path(str(ROOT / "examples/text_encoder.py"))
    example["write"](Path("text-encoder"), ["a", "small", *DIGITS.split(",")])
    packing = ["--text-encoder", "text-encoder", "--captions", "a small {class}", "--class-names", DIGITS]
    assert main(["data", "pack", "digits", "digits-text.zip", *packing]) == 0
    Path("teacher.toml").write_text(TEACHER)
    Path("student.toml").write_text(STUDENT)
    assert main(["run", "student.toml"]) == 0
    capsys.readouterr()
    student = next(Path("runs").glob("*-student"))
    found = json.loads((student / "result/metrics.json").read_text())
    assert 0 <= found["metrics"]["frechet/label_agreement"] <= 1
    Path("prompts.txt").write_text("a small five\na five\n")  # the second is none of those that it knows
    assert main(["sample", str(student), "--prompts", "prompts.txt", "-n", "4", "--out", "two.png"]) == 0
    assert main(["export", str(student), "--to", "diffusers", "out"]) == 0
    layout = json.loads(Path("out/student/config.json").read_text())["layout"]
    assert (layout["tokens"], layout["width"], layout["pooled"]) == (5, 32, 32)
    assert {"student", "text_encoder", "tokenizer"} <= json.loads(Path("out/model_index.json").read_text()).keys()
