"""Latents to pixels and back, by a stand-in for the autoencoder, and by diffusers' own where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from distillkit_datasets import vae
from distillkit_datasets.latents import Latents
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from distillkit.api import InputError
from distillkit.cli.main import main
from distillkit.networks.loaded import load as load_student
from distillkit.testing import toy_state

PIXELS = 8
needs_diffusers = pytest.mark.skipif(not vae.has_diffusers(), reason="diffusers is not installed")


class Mosaic(nn.Module):
    """Called like AutoencoderKL: the mean is each 2x2 block's mean colour and brightness, the std a tenth."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def encode(self, x: Tensor) -> SimpleNamespace:
        assert 0 <= x.min() and x.max() <= 1 and x.dtype == torch.float32
        z = avg_pool2d(x, 2)
        mean = torch.cat([z, z.mean(1, keepdim=True)], dim=1)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, std=torch.full_like(mean, 0.1)))

    def decode(self, z: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=interpolate(z[:, :3], scale_factor=2))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    for i in range(6):
        pixels = np.random.RandomState(i).randint(0, 256, (4, 4, 3), np.uint8).repeat(2, 0).repeat(2, 1)
        (tmp_path / "pets" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pets" / "ab"[i % 2] / f"{i}.png")
    return tmp_path


@pytest.fixture
def mosaic(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a stand-in autoencoder."""
    Path("mosaic.safetensors").write_bytes(b"")
    monkeypatch.setattr(vae, "load", lambda path: Mosaic())
    monkeypatch.setattr(vae, "has_diffusers", lambda: True)
    return "mosaic.safetensors"


def test_images_are_packed_as_latents_and_decoded_to_the_same_bytes(
    mosaic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "pack", "pets", "latents.zip", "--vae", mosaic]) == 0
    assert capsys.readouterr().out == "latents.zip: 6 latents of images, 8x8x3, with labels\n"
    dataset = Latents(Latents.Config(path="latents.zip", vae=mosaic))
    dataset.open(Path.cwd())
    assert (dataset.shape, dataset.label_dim) == ((4, 4, 4), 2)
    means = dataset.sampled(torch.arange(6), lambda *shape: torch.zeros(6, *shape))
    shown = ((dataset.decode(means) + 1) * 127.5).round()
    files = [np.array(Image.open(path)) for path in sorted(Path("pets").rglob("*.png"))]
    want = torch.from_numpy(np.stack(files)).permute(0, 3, 1, 2)
    assert shown.shape == want.shape and (shown - want).abs().max() <= 1  # truncated, after whitening and back
    assert main(["data", "check", "latents.zip", "--latents"]) == 0


def test_pixels_are_truncated_to_bytes_and_survive_the_metrics_rounding(mosaic: str) -> None:
    dataset = Latents(Latents.Config(path="none", vae=mosaic, raw_mean=(0.0,) * 4, raw_std=(0.5,) * 4))
    z = torch.tensor([0.999 / 255, 1.0, 254.9 / 255, -0.3]).view(1, 1, 2, 2).expand(1, 4, 2, 2)
    u = dataset.decode(z) * 127.5 + 128
    assert u.to(torch.uint8)[0, 0, ::2, ::2].flatten().tolist() == [0, 255, 254, 0]


def test_packing_latents_twice_gives_the_same_bytes_and_packing_latents_again_is_refused(
    mosaic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.zip", "b.zip"):
        assert main(["data", "pack", "pets", name, "--vae", mosaic]) == 0
    assert Path("a.zip").read_bytes() == Path("b.zip").read_bytes()
    assert main(["data", "pack", "a.zip", "c.zip"]) != 0
    assert not Path("c.zip").exists()


RECIPE = """
schema = 1
[run]
kimg = 0.016
batch = 4
grid = 4
device = "cpu"
threads = 1
[dataset]
use = "latents"
path = "latents.zip"
vae = "mosaic.safetensors"
[generator]
init = "scratch"
network = { use = "mlp", width = 8 }
[generator_loss]
use = "edm"
[sample]
use = "heun"
steps = 2
"""


def test_a_run_on_latents_shows_pixels_and_its_student_makes_them(
    mosaic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "pack", "pets", "latents.zip", "--vae", mosaic]) == 0
    Path("small.toml").write_text(RECIPE)
    assert main(["run", "small.toml"]) == 0, capsys.readouterr().err
    (run,) = Path("runs").glob("0*")
    card = json.loads((run / "result/student.json").read_text())
    assert card["decoder"]["use"] == "latents" and card["decoder"]["vae"] == mosaic and card["channels"] == 4
    student = load_student(run)
    x = student(n=2, seed=0)
    assert x.shape == (2, 3, PIXELS, PIXELS) and -1 <= x.min() and x.max() <= 1
    assert student.sample(torch.randn(1, 4, 4, 4), torch.eye(2)[:1]).shape == (1, 4, 4, 4), "its own are latents"
    assert main(["sample", str(run), "--out", "pictures.npz", "-n", "3"]) == 0
    assert np.load("pictures.npz")["images"].shape == (3, PIXELS, PIXELS, 3)


def test_real_images_are_shown_and_measured_as_pixels(mosaic: str) -> None:
    assert main(["data", "pack", "pets", "latents.zip", "--vae", mosaic]) == 0
    state = toy_state(dataset={"use": "latents", "path": "latents.zip", "vae": mosaic})
    assert state.dataset.pixels(torch.tensor([1, 2])).shape == (2, 3, PIXELS, PIXELS)
    bare = toy_state(dataset={"use": "latents", "path": "latents.zip"}).dataset
    assert bare.pixels(torch.tensor([1])).shape == (1, 4, 4, 4), "without a VAE latents are shown as they are"


def test_a_metric_of_latents_that_nothing_decodes_is_a_usage_error(
    mosaic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "pack", "pets", "latents.zip", "--vae", mosaic]) == 0
    fid = '\n[[evaluate]]\nuse = "inception-score"\nfeatures = { use = "inception", network = "none.pt" }\n'
    Path("small.toml").write_text(RECIPE.replace('vae = "mosaic.safetensors"\n', "") + fid)
    assert main(["run", "small.toml"]) == 2
    assert "dataset.vae names what decodes them" in capsys.readouterr().err


def test_without_diffusers_one_line_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("vae.safetensors").write_bytes(b"")
    monkeypatch.setattr(vae, "has_diffusers", lambda: False)
    assert main(["data", "pack", "pets", "latents.zip", "--vae", "vae.safetensors"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert 'pip install "distillkit-datasets[vae]"' in line and not Path("latents.zip").exists()
    Path("small.toml").write_text(RECIPE.replace("mosaic", "vae"))
    assert main(["run", "small.toml"]) == 3
    assert "distillkit-datasets[vae]" in capsys.readouterr().err


def test_a_missing_vae_is_named(mosaic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pack", "pets", "latents.zip", "--vae", "gone"]) == 3
    assert "gone: no such file; a VAE is a folder of diffusers, or sd-vae-ft-mse.safetensors" in capsys.readouterr().err


TINY = {
    "_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 1,
    "block_out_channels": [8, 8], "norm_num_groups": 4, "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2, "sample_size": 8,
}  # fmt: skip


@pytest.fixture
def tiny() -> nn.Module:
    """A random autoencoder of diffusers, saved as the folder "tiny" with the old names of attention's tensors."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    net = AutoencoderKL.from_config(TINY).eval()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = dict(net.state_dict())
    for new, name in old.items():
        tensors = {key.replace(f".{new}.", f".{name}."): t for key, t in tensors.items()}
    Path("tiny").mkdir()
    Path("tiny/config.json").write_text(json.dumps(TINY))
    safetensors.torch.save_file(tensors, "tiny/diffusion_pytorch_model.safetensors")
    return net


def test_an_autoencoder_of_signed_pixels_gets_and_gives_those(mosaic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    class OfSigned(Mosaic):
        def encode(self, x: Tensor) -> SimpleNamespace:
            seen.append(x)
            return super().encode((x + 1) / 2)

        def decode(self, z: Tensor) -> SimpleNamespace:
            return SimpleNamespace(sample=2 * super().decode(z).sample - 1)

    pixels = np.random.RandomState(0).randint(0, 256, (4, 4, 3), np.uint8).repeat(2, 0).repeat(2, 1)
    keys: Any = {"path": "none", "vae": mosaic, "raw_mean": (0.1,) * 4, "raw_std": (0.5,) * 4}
    plain = Latents(Latents.Config(**keys))
    z = plain.encode(pixels)
    monkeypatch.setattr(vae, "load", lambda path: OfSigned())
    signed = Latents(Latents.Config(**keys, signed_pixels=True))
    np.testing.assert_allclose(signed.encode(pixels), z, rtol=1e-5, atol=1e-6)
    assert seen[0].min() < -0.5
    x = torch.rand(2, 4, 2, 2)
    assert (signed.decode(x) - plain.decode(x)).abs().max() <= 1.1 / 127.5


@needs_diffusers
def test_an_autoencoder_of_diffusers_encodes_and_decodes(tiny: nn.Module, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pack", "pets", "latents.zip", "--vae", "tiny"]) == 0, capsys.readouterr().err
    dataset = Latents(Latents.Config(path="latents.zip", vae="tiny"))
    dataset.open(Path.cwd())
    pixels = torch.from_numpy(np.array(Image.open("pets/a/0.png"))).permute(2, 0, 1)[None]
    with torch.no_grad():
        mean = tiny.encode(pixels.float() / 255).latent_dist.mean
        shown = (tiny.decode(mean).sample.clamp(0, 1) * 255).to(torch.uint8)
    x = dataset.sampled(torch.tensor([0]), lambda *shape: torch.zeros(1, *shape))
    assert ((dataset.decode(x) + 1) * 127.5 - shown).abs().max() <= 1.001


@needs_diffusers
@pytest.mark.parametrize("damage", ["config", "weights", "names"])
def test_a_damaged_autoencoder_is_one_line(tiny: nn.Module, damage: str) -> None:
    file = Path("tiny") / ("config.json" if damage == "config" else vae.WEIGHTS)
    if damage == "names":
        safetensors.torch.save_file({"x": torch.ones(1)}, file)
    else:
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError, match="tiny: no AutoencoderKL of diffusers") as refusal:
        vae.load(Path("tiny"))
    assert "\n" not in str(refusal.value)


@needs_diffusers
def test_stabilitys_weights_are_one_file_without_a_config() -> None:
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        names = AutoencoderKL.from_config(vae.STABILITY).state_dict()
    assert sum(t.numel() for t in names.values()) == 83_653_863  # as stabilityai/sd-vae-ft-mse says of itself
    assert len(names) == 248 and names["decoder.conv_in.weight"].shape == (512, 4, 3, 3)


def test_pixels_for_losses_carry_the_gradient_and_are_those_that_are_shown(mosaic: str) -> None:
    dataset = Latents(Latents.Config(path="none", vae=mosaic, raw_mean=(0.1,) * 4, raw_std=(0.5,) * 4))
    x = torch.rand(2, 4, 2, 2, requires_grad=True)
    pixels = dataset.pixels_of(x)
    torch.testing.assert_close(pixels.detach().clamp(-1, 1), dataset.decode(x.detach()), rtol=0, atol=1.1 / 127.5)
    pixels.sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    shape = torch.empty(2, 4, 2, 2, device="meta", requires_grad=True)
    assert dataset.pixels_of(shape).shape == dataset.decode(shape).shape and dataset.pixels_of(shape).requires_grad
