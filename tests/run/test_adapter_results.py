"""The result of a run with adapters: a student like any other, and PEFT's two files, which `export` gives alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

import distillkit
from distillkit.cli.main import main
from distillkit.networks import adapter_file
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog
from distillkit.testing import save_network, tiny_recipe


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the network `base`, and a run that trained adapters beside it."""
    folder = tmp_path_factory.mktemp("adapters")
    catalog = Catalog.installed()
    data = choice_from_table("dataset", {"use": "gaussian-mixture", "size": 64}, catalog, "test").build()
    data.open(folder)
    network = choice_from_table("network", {"use": "mlp", "width": 16, "depth": 2}, catalog, "test")
    save_network(folder / "base", network, data)
    start = {"init": "teacher", "network": {"remove": True}, "checkpoint": str(folder / "base")}
    text = tiny_recipe(
        "sid", teacher_score={"use": "gaussian-mixture"}, generator_loss={"noise": "lognormal", "lr": 1e-2},
        generator={**start, "adapter": {"use": "lora", "rank": 2}, "optimizer": {"lr": 1e-2}},
    )  # fmt: skip
    (folder / "toy.toml").write_text(text)
    assert main(["run", str(folder / "toy.toml"), "--runs", str(folder / "runs")]) == 0
    return folder


def run_of(world: Path) -> Path:
    return next((world / "runs").glob("*-toy"))


def test_the_student_has_the_form_of_what_it_began_with_and_other_weights(world: Path) -> None:
    base = safetensors.torch.load_file(world / "base" / "student.safetensors")
    made = safetensors.torch.load_file(run_of(world) / "result" / "student.safetensors")
    assert made.keys() == base.keys()
    assert any(not torch.equal(tensor, base[name]) for name, tensor in made.items())
    assert distillkit.load(run_of(world))(n=4).isfinite().all()


def test_a_checkpoint_holds_adapters_alone(world: Path) -> None:
    files = (run_of(world) / "checkpoints").rglob("*.safetensors")
    names = [name for path in files for name in safetensors.torch.load_file(path)]
    held = [name for name in names if name.startswith(("networks", "ema"))]
    assert held and all("lora_" in name for name in held)


def test_apart_they_are_two_files_with_the_sum_of_what_they_belong_to(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "apart"
    assert main(["export", str(run_of(world)), "--to", "safetensors", "--adapters", "apart", str(out)]) == 0
    base = safetensors.torch.load_file(world / "base" / "student.safetensors")
    assert {path.name for path in out.iterdir()} == {adapter_file.WEIGHTS, adapter_file.CONFIG}
    with safetensors.safe_open(out / adapter_file.WEIGHTS, "pt") as file:
        assert file.metadata()[adapter_file.BASE] == adapter_file.digest(base)
    adapters = safetensors.torch.load_file(out / adapter_file.WEIGHTS)
    made = safetensors.torch.load_file(run_of(world) / "result" / "student.safetensors")
    for name in {key.removeprefix("base_model.model.").partition(".lora_")[0] for key in adapters}:
        A, B = (adapters[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
        torch.testing.assert_close(base[f"{name}.weight"] + B @ A, made[f"{name}.weight"])
    assert f"of weights whose sum is {adapter_file.digest(base)[:16]}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "told"),
    [(["--to", "onnx"], "--adapters apart goes with --to safetensors"),
     (["--to", "safetensors", "--dtype", "fp16"], "--adapters apart goes with --to safetensors")],
)  # fmt: skip
def test_other_formats_hold_a_whole_student(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert main(["export", str(run_of(world)), *more, "--adapters", "apart", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err


def test_a_student_without_adapters_has_none_to_give(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["export", str(world / "base"), "--to", "safetensors", "--adapters", "apart", str(tmp_path / "out")]
    assert main(argv) == 3
    assert "has no adapters: its run trained all weights" in capsys.readouterr().err and not (tmp_path / "out").exists()
