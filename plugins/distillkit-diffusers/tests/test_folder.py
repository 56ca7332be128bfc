"""Folders of diffusers: read as data, what is not known is refused by name, and diffusers reads what is written."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from distillkit_diffusers.folder import WEIGHTS, DiffusersFolder
from distillkit_diffusers.networks import Unet2d
from torch import Tensor

from distillkit.api import InputError

needs_diffusers = pytest.mark.skipif(not importlib.util.find_spec("diffusers"), reason="diffusers is not installed")
TINY = {"network": {"use": "unet2d", "block_out_channels": [8, 16],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "norm_num_groups": 4, "layers_per_block": 1,
        "attention_head_dim": 4, "beta_schedule": "squaredcos_cap_v2"},
        "resolution": 8, "channels": 1, "label_dim": 3}  # fmt: skip


def made(card: dict[str, Any]) -> Any:
    """The network of a card, without its weights."""
    keys: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in card["network"].items()}
    del keys["use"]
    network: Any = Unet2d(Unet2d.Config(**keys)).module(card["resolution"], card["channels"], card["label_dim"])
    network.card = card
    return network.eval().requires_grad_(False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network with labels, written by the importer."""
    torch.manual_seed(0)
    assert DiffusersFolder({}).write(tmp_path / "model", made(TINY))
    return tmp_path / "model"


def change(path: Path, **keys: Any) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in {**config, **keys}.items() if value is not ...}))


def shards(folder: Path) -> None:
    """The same weights in two files and an index."""
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, listed in parts.items():
        safetensors.torch.save_file({name: tensors[name] for name in listed}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, listed in parts.items() for name in listed}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    (folder / WEIGHTS).unlink()


def pipeline(folder: Path) -> None:
    """The same files as a pipeline has them."""
    for name, files in {"unet": ("config.json", WEIGHTS), "scheduler": ("scheduler_config.json",)}.items():
        (folder / name).mkdir()
        for file in files:
            (folder / file).rename(folder / name / file)
    parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline", **parts}))


def old_names(folder: Path) -> None:
    """The same weights under the names that attention had until 2023."""
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def renamed(name: str) -> str:
        for new, before in old.items():
            name = name.replace(new, before)
        return name

    tensors = {renamed(name): t for name, t in safetensors.torch.load_file(folder / WEIGHTS).items()}
    safetensors.torch.save_file(tensors, folder / WEIGHTS)


def test_null_is_kept_through_our_files(folder: Path, tmp_path: Path) -> None:
    change(folder / "config.json", attention_head_dim=None)
    card, tensors = DiffusersFolder({}).read(folder)
    assert card["network"]["attention_head_dim"] == 0
    network = made(card)
    network.load_state_dict(tensors)
    assert DiffusersFolder({}).write(tmp_path / "again", network)
    assert json.loads((tmp_path / "again/config.json").read_text())["attention_head_dim"] is None


@pytest.mark.parametrize("rearrange", [shards, pipeline, old_names])
def test_every_layout_of_a_folder_gives_the_same_network(folder: Path, rearrange: Callable[[Path], None]) -> None:
    card, tensors = DiffusersFolder({}).read(folder)
    rearrange(folder)
    again, same = DiffusersFolder({}).read(folder)
    assert card == again and tensors.keys() == same.keys()
    assert all(torch.equal(tensors[name], same[name]) for name in tensors)
    assert (card["resolution"], card["channels"], card["label_dim"]) == (8, 1, 3)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "another class": ("config.json", {"_class_name": "UNet2DConditionModel"}, "_class_name = 'UNet2DConditionModel'"),
    "an unknown key": ("config.json", {"cross_attention_dim": 8}, "'cross_attention_dim' = 8: a key that is not known"),
    "an unknown block": ("config.json", {"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}, "'SkipDownBlock2D'"),
    "Fourier features": ("config.json", {"time_embedding_type": "fourier"}, "time_embedding_type = 'fourier'"),
    "no size": ("config.json", {"sample_size": ...}, "sample_size = None"),
    "a text for a number": ("config.json", {"layers_per_block": "2"}, "layers_per_block = '2'"),
    "a huge number": ("config.json", {"layers_per_block": 10**9}, "layers_per_block = 1000000000"),
    "other widths": ("config.json", {"block_out_channels": [8, 32]}, "its weights are not those of its config.json"),
    "more layers": ("config.json", {"layers_per_block": 2}, "missing: down_blocks.0.resnets.1"),
    "fewer classes": ("config.json", {"num_class_embeds": None}, "left over: class_embedding.weight"),
    "another scheduler": ("scheduler_config.json", {"_class_name": "KarrasVeScheduler"}, "'KarrasVeScheduler'"),
    "an unknown setting": ("scheduler_config.json", {"magic": 1}, "magic' = 1: a key that is not known"),
    "an unknown table": ("scheduler_config.json", {"beta_schedule": "laplace"}, "beta_schedule"),
    "betas that are none": ("scheduler_config.json", {"trained_betas": [0.5, 2.0]}, "alphas_cumprod must fall"),
    "logarithms as times": ("scheduler_config.json", {"timestep_type": "continuous"}, "timestep_type = 'continuous'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_in_one_line_that_names_it(folder: Path, name: str) -> None:
    file, keys, told = REFUSED[name]
    change(folder / file, **keys)
    with pytest.raises(InputError) as refusal:
        DiffusersFolder({}).read(folder)
    assert told in str(refusal.value) and str(folder) in str(refusal.value) and "\n" not in str(refusal.value)


def outside(folder: Path) -> None:
    shards(folder)
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": {"x": "../model/a.safetensors"}}))


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")


def not_finite(folder: Path) -> None:
    tensors: dict[str, Tensor] = safetensors.torch.load_file(folder / WEIGHTS)
    safetensors.torch.save_file(tensors | {"conv_in.bias": torch.full((8,), torch.nan)}, folder / WEIGHTS)


def with_words(folder: Path) -> None:
    pipeline(folder)
    change(folder / "model_index.json", text_encoder=["transformers", "CLIPTextModel"])


FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a shard elsewhere": (outside, "'../model/a.safetensors' is no .safetensors beside it"),
    "a pickle": (pickled, "diffusion_pytorch_model.bin is a pickle, which is not read here"),
    "no number": (not_finite, "conv_in.bias holds numbers that are no finite weights"),
    "a text encoder": (with_words, "text_encoder is 'CLIPTextModel'"),
    "no scheduler": (lambda folder: (folder / "scheduler_config.json").unlink(), "no scheduler_config.json"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("[" * 100_000), "no config of diffusers"),
    "NaN": (lambda folder: (folder / "scheduler_config.json").write_text('{"beta_end": NaN}'), "NaN is no number"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_not_as_they_should_be_are_refused_in_one_line(folder: Path, name: str) -> None:
    damage, told = FILES[name]
    damage(folder)
    with pytest.raises(InputError) as refusal:
        DiffusersFolder({}).read(folder)
    assert told in str(refusal.value) and "\n" not in str(refusal.value)


@needs_diffusers
def test_diffusers_reads_what_is_written_and_we_read_what_diffusers_writes(folder: Path, tmp_path: Path) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    model, scheduler = UNet2DModel.from_pretrained(folder), DDPMScheduler.from_pretrained(folder)
    DDPMPipeline(model, scheduler).save_pretrained(tmp_path / "theirs")
    card, tensors = DiffusersFolder({}).read(folder)
    again, same = DiffusersFolder({}).read(tmp_path / "theirs")
    assert card == again and all(torch.equal(tensors[name], same[name]) for name in tensors)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 700])
    ours = made(card)
    ours.load_state_dict(tensors)
    with torch.no_grad():
        known = model(x, t, class_labels=torch.tensor([0, 2])).sample
    torch.testing.assert_close(ours.model(x, t.double(), torch.eye(3)[[0, 2]]), known, rtol=1e-5, atol=1e-5)
