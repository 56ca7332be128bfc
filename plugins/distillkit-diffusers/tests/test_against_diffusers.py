"""Other configs against diffusers' own classes, where it is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from distillkit_diffusers.configs import NONE
from distillkit_diffusers.networks import Unet2d
from distillkit_diffusers.schedules import NoiseConfig

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("diffusers"), reason="diffusers is not installed")
SMALL: dict[str, Any] = {
    "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
RESNET = ("ResnetDownsampleBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "ResnetUpsampleBlock2D")
CONFIGS: dict[str, dict[str, Any]] = {
    "ddpm's own": {"freq_shift": 1, "flip_sin_to_cos": False, "downsample_padding": 0, "attention_head_dim": None,
                   "norm_eps": 1e-6, "center_input_sample": True, "act_fn": "gelu"},
    "by residual blocks": {"down_block_types": RESNET[0], "up_block_types": RESNET[1], "downsample_type": "resnet",
                           "upsample_type": "resnet", "attention_head_dim": 3, "layers_per_block": 2},
    "attention everywhere": {"down_block_types": ("AttnDownBlock2D",) * 2, "up_block_types": ("AttnUpBlock2D",) * 2,
                             "downsample_type": "resnet", "upsample_type": "resnet", "act_fn": "mish",
                             "resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 2},
    "a bare middle": {"add_attention": False, "mid_block_scale_factor": 1.5, "time_embedding_dim": 24},
    "no middle": {"mid_block_type": None, "act_fn": "relu"},
    "a number": {"class_embed_type": "timestep"},
    "an embedding": {"class_embed_type": "identity"},
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_gives_diffusers_network(name: str) -> None:
    from diffusers import UNet2DModel

    keys = SMALL | CONFIGS[name]
    torch.manual_seed(0)
    theirs = UNet2DModel(sample_size=8, in_channels=3, out_channels=3, **keys).eval().requires_grad_(False)
    labels = {"timestep": torch.arange(2.0), "identity": torch.randn(2, 32)}.get(keys.get("class_embed_type") or "")
    ours = (
        Unet2d(Unet2d.Config(**{k: NONE[k] if v is None else v for k, v in keys.items()}))
        .module(8, 3, 0 if labels is None else labels.numel() // 2)
        .model
    )
    ours.eval().requires_grad_(False).load_state_dict(theirs.state_dict())
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([7, 900])
    known = theirs(x, t, class_labels=labels, return_dict=False)[0]
    torch.testing.assert_close(ours(x, t.double(), None if labels is None else labels.reshape(2, -1)), known)


BETAS: dict[str, dict[str, Any]] = {
    "linear": {},
    "scaled linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "sigmoid": {"beta_schedule": "sigmoid"},
    "of one's own": {"trained_betas": (0.1, 0.2, 0.4), "num_train_timesteps": 3},
    "no signal left": {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
}


@pytest.mark.parametrize("name", BETAS)
def test_noise_levels_are_diffusers(name: str) -> None:
    from diffusers import DDIMScheduler, DDPMScheduler

    keys = BETAS[name]
    scheduler = (DDPMScheduler if name == "sigmoid" else DDIMScheduler)(**keys)
    schedule = NoiseConfig(**keys).schedule()
    t = torch.arange(schedule.t_max + 1, dtype=torch.float64)
    torch.testing.assert_close(schedule.a_b(t)[0] ** 2, scheduler.alphas_cumprod.double(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_straight_path_is_diffusers(shift: float) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    config = NoiseConfig(prediction_type="flow", shift=shift)
    schedule = config.schedule()
    times = scheduler.timesteps.double() / config.time_scale
    torch.testing.assert_close(schedule.a_b(times)[1], scheduler.sigmas[: len(times)].double())
    assert schedule.t_min == pytest.approx(float(scheduler.sigmas.min()))
