"""`distillkit export`: what is written computes what the student computes, or is not kept."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import distillkit
from distillkit.cli.main import main
from distillkit.engine import export, student
from distillkit.engine.draw import latents
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog

UNET = {"use": "edm-ddpmpp", "model_channels": 4, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}
EDM2 = {**UNET, "use": "edm2", "model_channels": 8, "channels_per_head": 8}
MLP = {"use": "mlp", "width": 8}
WITH_ONNX = all(importlib.util.find_spec(name) for name in export.ONNX)


def saved(folder: Path, network: dict, labels: int, **card: object) -> None:
    """A student of random weights for 8x8 images of three channels."""
    torch.manual_seed(0)
    net = student.new_network(choice_from_table("network", network, Catalog.installed(), "here"), 8, 3, labels)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    student.save(folder, net, {"sample": {"use": "one-step", "sigma_init": 2.0}, "seed": 0, "nimg": 5000, **card})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def given(labels: int, n: int) -> list[torch.Tensor]:
    z, _ = latents(list(range(n)), (3, 8, 8))
    return [z, torch.eye(labels)[torch.arange(n) % labels]] if labels else [z]


@pytest.mark.parametrize(("network", "labels"), [(UNET, 4), (EDM2, 4), (MLP, 0)])
def test_the_graph_of_torch_gives_the_students_images_in_any_number(
    network: dict, labels: int, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(Path("net"), network, labels)
    assert main(["export", "net", "--to", "torch-export", "out"]) == 0
    assert "largest difference from the student 0" in capsys.readouterr().out
    graph = torch.export.load("out/student.pt2").module()
    for n in (1, 6):
        with torch.no_grad():
            torch.testing.assert_close(graph(*given(labels, n)), distillkit.load("net")(n, device="cpu"))


@pytest.mark.skipif(not WITH_ONNX, reason="needs onnx, onnxscript, onnxruntime")
@pytest.mark.parametrize(("network", "labels"), [(UNET, 4), (EDM2, 4), (MLP, 0)])
def test_the_onnx_graph_gives_the_students_images_in_any_number(network: dict, labels: int) -> None:
    import onnxruntime

    saved(Path("net"), network, labels)
    assert main(["export", "net", "--to", "onnx", "out"]) == 0
    session = onnxruntime.InferenceSession("out/student.onnx")
    for n in (1, 6):
        feed = {name: tensor.numpy() for name, tensor in zip(("z", "labels"), given(labels, n), strict=False)}
        (x,) = session.run(["x"], feed)
        assert np.abs(x - distillkit.load("net")(n, device="cpu").numpy()).max() < 1e-4


def test_without_onnx_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(Path("net"), MLP, 0)
    monkeypatch.setattr(export, "ONNX", ("onnx_that_nobody_has",))
    assert main(["export", "net", "--to", "onnx", "out"]) == 2
    assert "needs onnx_that_nobody_has: pip install onnx_that_nobody_has" in capsys.readouterr().err


def test_the_folder_of_safetensors_is_a_student_again_with_its_cards() -> None:
    saved(Path("net"), UNET, 4, precision="bf16", recipe="a_recipe")
    assert main(["export", "net", "--to", "safetensors", "new/out"]) == 0
    ours, theirs = distillkit.load("net"), distillkit.load("new/out")
    assert torch.equal(ours(3), theirs(3))
    card = theirs.card
    assert card["licence"] is None and card["sample"] == {"use": "one-step", "sigma_init": 2.0}
    assert (card["export"]["format"], card["export"]["difference"]) == ("safetensors", 0.0)
    page = Path("new/out/README.md").read_text()
    for words in ("# a_recipe", "| sampler | one-step (sigma_init 2.0) |", "| trained on | 5 kimg |",
                  "licence | unknown", 'distillkit.load("out")', "labels are one-hot [N,4]"):  # fmt: skip
        assert words in page
    assert sorted(path.name for path in Path("new").rglob("*")) == [
        "README.md", "out", "student.json", "student.safetensors"
    ]  # fmt: skip


@pytest.mark.parametrize("off", [2e-4, float("nan")])
def test_what_computes_something_else_is_not_kept(
    off: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(Path("net"), MLP, 0)
    right = export.FORMATS["safetensors"]

    def wrong(made: distillkit.Student, source: Path, folder: Path) -> export.Generate:
        generate = right(made, source, folder)
        return lambda *tensors: generate(*tensors) + off

    monkeypatch.setitem(export.FORMATS, "safetensors", wrong)
    assert main(["export", "net", "--to", "safetensors", "out"]) == 1
    assert "differs from the student by" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["net"]


@pytest.mark.parametrize("sample", [{"use": "few-step", "sigmas": [80.0, 1.0]}, {"use": "heun", "steps": 2}])
def test_a_sampler_that_makes_no_graph_is_refused_in_one_line(sample: dict, capsys: pytest.CaptureFixture[str]) -> None:
    saved(Path("net"), MLP, 0, sample=sample)
    assert main(["export", "net", "--to", "torch-export", "out"]) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert f"sampler '{sample['use']}' with network 'mlp' makes no graph" in line and told.out == ""
    assert main(["export", "net", "--to", "safetensors", "out"]) == 0


def test_a_folder_that_exists_and_a_format_that_does_not_are_refused() -> None:
    saved(Path("net"), MLP, 0)
    assert main(["export", "net", "--to", "safetensors", "net"]) == 2
    assert main(["export", "net", "--to", "diffusers", "out"]) == 2
    assert main(["export", "nowhere", "--to", "safetensors", "out"]) == 3
    assert json.loads(Path("net/student.json").read_text())["nimg"] == 5000
    assert [path.name for path in Path().iterdir()] == ["net"]
