"""`distillkit export`: what is written computes what the student computes, or is not kept."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import distillkit
from distillkit.api import UsageError
from distillkit.cli.main import main
from distillkit.networks import export, network_file
from distillkit.networks.for_diffusers.student import Student
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog
from distillkit.seeds import seed_noise

UNET = {"use": "edm-ddpmpp", "model_channels": 4, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}
EDM2 = {**UNET, "use": "edm2", "model_channels": 8, "channels_per_head": 8}
MLP = {"use": "mlp", "width": 8}
WITH_ONNX = all(importlib.util.find_spec(name) for name in export.ONNX)


def saved(folder: Path, network: dict, labels: int, **card: object) -> None:
    """A student of random weights for 8x8 images of three channels."""
    torch.manual_seed(0)
    net = network_file.new_network(choice_from_table("network", network, Catalog.installed(), "here"), 8, 3, labels)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    network_file.save(folder, net, {"sample": {"use": "one-step", "sigma_init": 2.0}, "seed": 0, "nimg": 5000, **card})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def given(labels: int, n: int) -> list[torch.Tensor]:
    z, _ = seed_noise(list(range(n)), (3, 8, 8))
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


@pytest.fixture(scope="module")
def for_diffusers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a conditional student, `net`, and what it is exported to, `out`."""
    folder = tmp_path_factory.mktemp("diffusers")
    saved(folder / "net", UNET, 4)
    assert main(["export", str(folder / "net"), "--to", "diffusers", str(folder / "out")]) == 0
    return folder


LOAD = """
import sys
import numpy, torch
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained("out", trust_remote_code=True).to("cpu")
seeds = [torch.Generator().manual_seed(i) for i in range(6)]
numpy.save("images.npy", pipe(batch_size=6, generator=seeds, output_type="np").images)
(image,) = pipe(class_labels=3).images
(same,) = pipe(latents=torch.zeros(1, 3, 8, 8), return_dict=False)[0]
assert "distillkit" not in sys.modules
print(image.mode, image.size)
pipe(batch_size=2, class_labels=[0, 4])
"""


@pytest.mark.skipif(not importlib.util.find_spec("diffusers"), reason="needs diffusers")
def test_diffusers_loads_the_folder_without_distillkit(for_diffusers: Path) -> None:
    env = {**os.environ, "HF_HOME": str(for_diffusers / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=for_diffusers, env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout == "RGB (8, 8)\n", done.stderr
    assert "ValueError: class_labels: 2 numbers from 0 to 3, got [0, 4]" in done.stderr
    x = torch.from_numpy(np.load(for_diffusers / "images.npy")).permute(0, 3, 1, 2) * 2 - 1
    torch.testing.assert_close(
        x, distillkit.load(for_diffusers / "net")(6, device="cpu").clamp(-1, 1), rtol=0, atol=1e-5
    )


def test_its_graph_moves_with_its_constants_and_has_one_precision(for_diffusers: Path) -> None:
    loaded = Student.from_pretrained(str(for_diffusers / "out/student"), torch_dtype=None, device_map=None).eval()
    z, labels = given(4, 3)
    assert loaded.to(torch.device("meta"))(z.to("meta"), labels.to("meta")).device.type == "meta"
    with pytest.raises(ValueError, match=r"torch.float32 alone, torch.float16 was asked for"):
        loaded.to("cpu", torch.float16)
    card = json.loads((for_diffusers / "out/student.json").read_text())["export"]
    assert (card["format"], card["difference"]) == ("diffusers", 0.0)
    words = ("trust_remote_code=True", "class_labels=[0, 1, 0, 1]")
    assert all(word in (for_diffusers / "out/README.md").read_text() for word in words)


def test_a_student_of_latents_is_no_folder_for_diffusers() -> None:
    with pytest.raises(UsageError, match="cannot hold the decoder"):
        export.FORMATS["diffusers"](SimpleNamespace(card={"decoder": {"use": "x"}}), Path("net"), Path("out"))


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
        "README.md", "manifest.json", "out", "samples.png", "student.json", "student.safetensors"
    ]  # fmt: skip


def test_licences_of_a_student_go_with_it_and_stay(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"ffhq-64x64.zip": "unknown", "edm-ffhq-64x64-uncond-vp.pkl": "CC BY-NC-SA 4.0"}
    Path("run").mkdir()
    saved(Path("run/result"), MLP, 0, licence=known)
    Path("run/resolved.toml").write_text('schema = 1\n[dataset]\nuse = "npz"\npath = "/mine/ffhq-64x64.zip"\n')
    for source, out in (("run", "once"), ("once", "again")):
        assert main(["export", source, "--to", "safetensors", out]) == 0
        warning = f"warning: {out} is not for commercial use: made with edm-ffhq-64x64-uncond-vp.pkl (CC BY-NC-SA 4.0)"
        assert warning in capsys.readouterr().err
        card = json.loads(Path(out, "student.json").read_text())
        assert (card["licence"], card["data"]) == (known, "npz, ffhq-64x64.zip")
        assert "This student is not for commercial use" in Path(out, "README.md").read_text()


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
    assert main(["export", "net", "--to", "tflite", "out"]) == 2
    assert main(["export", "nowhere", "--to", "safetensors", "out"]) == 3
    assert json.loads(Path("net/student.json").read_text())["nimg"] == 5000
    assert [path.name for path in Path().iterdir()] == ["net"]
