"""Files and folders of networks of another make, for the contracts of what reads them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from distillkit.recipe import choice_from_table
from distillkit.testing import toy_state
from distillkit.testing.toys import catalog

PICKLE = Path(__file__).parents[2] / "plugins/distillkit-edm/tests/data/sid_tiny.pkl"


def write_pickle(self: Any, folder: Path) -> None:
    """A snapshot as EDM's training leaves it."""
    shutil.copy(PICKLE, folder / self.path)


def write_state_dict(self: Any, folder: Path) -> None:
    """The same network's state dict."""
    _, tensors = catalog().load("importer", "pkl")({}).read(PICKLE)
    (safetensors.torch.save_file if self.use == "safetensors" else torch.save)(tensors, folder / self.path)


def write_transformer(self: Any, folder: Path) -> None:
    """A released transformer's state dict, of the network that its importer is named after."""
    use = {"fastgen": "flow-dit"}.get(name := self.use.partition(".")[0], name)
    keys = {"use": use, "hidden_size": 64, "depth": 1, "num_heads": 1}
    made = choice_from_table("network", keys, catalog(), where="toy").build().module(4, 3, 2)
    save = safetensors.torch.save_file if self.use.endswith("safetensors") else torch.save
    save(made.model.state_dict(), folder / self.path)


def write_pipeline(self: Any, folder: Path) -> None:
    """A folder of diffusers with a U-Net of random weights that sees little more than grey, for the toy data set."""
    from diffusers import DDPMScheduler, UNet2DModel

    data = toy_state().dataset
    torch.manual_seed(0)
    made = UNet2DModel(
        sample_size=data.resolution, in_channels=data.channels, out_channels=data.channels, norm_num_groups=4,
        block_out_channels=(4, 8), layers_per_block=1, num_class_embeds=data.label_dim, attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    made.conv_out.weight.data.mul_(0.1)
    made.save_pretrained(folder / "pipeline")
    DDPMScheduler(prediction_type="sample").save_pretrained(folder / "pipeline")
