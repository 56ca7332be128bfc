"""Folders of diffusers with toy models of random weights, of each class that `teacher_score` "diffusers" calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

T, W, P = 5, 12, 10  # words, their width, pooled numbers
HEADS: dict[str, Any] = {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8}
CONDITIONED: dict[str, Any] = {
    "sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4,
    "attention_head_dim": 4, "cross_attention_dim": W, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
UNET: dict[str, Any] = {
    "sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4,
    "attention_head_dim": 4, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
SD3: dict[str, Any] = {"joint_attention_dim": W, "pooled_projection_dim": P}
EPS: tuple[str, dict[str, Any]] = ("DDIMScheduler", {"beta_schedule": "scaled_linear", "beta_start": 0.00085,
                                                     "beta_end": 0.012})  # fmt: skip
V: tuple[str, dict[str, Any]] = ("DDPMScheduler", {"prediction_type": "v_prediction"})
FLOW: tuple[str, dict[str, Any]] = ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0})
# name -> class, its config, scheduler, channels, sizes of labels
MODELS: dict[str, tuple[str, dict[str, Any], tuple[str, dict[str, Any]], int, dict[str, Any]]] = {
    "ddpm": ("UNet2DModel", {**UNET, "in_channels": 3, "out_channels": 3}, ("DDPMScheduler", {}), 3, {}),
    "grey": ("UNet2DModel", {**UNET, "in_channels": 1, "out_channels": 1}, ("DDPMScheduler", {}), 1, {}),
    "classes": ("UNet2DModel", {**UNET, "in_channels": 3, "out_channels": 6, "num_class_embeds": 4}, V, 3,
                {"classes": 4}),
    "guided classes": ("UNet2DModel", {**UNET, "in_channels": 3, "out_channels": 3, "num_class_embeds": 5}, EPS, 3,
                       {"classes": 4}),
    "stable diffusion": ("UNet2DConditionModel", CONDITIONED, EPS, 4, {"tokens": T, "width": W}),
    "sdxl": ("UNet2DConditionModel", {**CONDITIONED, "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
                                      "projection_class_embeddings_input_dim": P + 24}, EPS, 4,
             {"tokens": T, "width": W, "pooled": P}),
    "dit": ("DiTTransformer2DModel", {**HEADS, "sample_size": 8, "num_embeds_ada_norm": 4, "in_channels": 4,
                                      "out_channels": 8, "norm_num_groups": 4}, EPS, 4, {"classes": 4}),
    "pixart": ("PixArtTransformer2DModel", {**HEADS, "sample_size": 8, "caption_channels": W, "out_channels": 8,
                                            "cross_attention_dim": 16, "norm_num_groups": 4}, EPS, 4,
               {"tokens": T, "width": W}),
    "pixart with sizes": ("PixArtTransformer2DModel", {**HEADS, "num_attention_heads": 3, "sample_size": 8,
                          "caption_channels": W, "out_channels": 8, "cross_attention_dim": 24, "norm_num_groups": 4,
                          "use_additional_conditions": True}, EPS, 4, {"tokens": T, "width": W}),
    "sd3": ("SD3Transformer2DModel", {**HEADS, **SD3, "sample_size": 8, "in_channels": 4, "out_channels": 4,
                                      "caption_projection_dim": 16, "pos_embed_max_size": 8}, FLOW, 4,
            {"tokens": T, "width": W, "pooled": P}),
    "toy captions": ("SD3Transformer2DModel", {**HEADS, "joint_attention_dim": 4, "pooled_projection_dim": 2,
                     "sample_size": 8, "in_channels": 4, "out_channels": 4, "caption_projection_dim": 16,
                     "pos_embed_max_size": 8}, FLOW, 4, {"tokens": T, "width": 4, "pooled": 2}),
    "flux": ("FluxTransformer2DModel", {**HEADS, **SD3, "in_channels": 16, "num_single_layers": 1,
                                        "axes_dims_rope": (2, 2, 4), "guidance_embeds": True}, FLOW, 4,
             {"tokens": T, "width": W, "pooled": P}),
    "flux without guidance": ("FluxTransformer2DModel", {**HEADS, **SD3, "in_channels": 16, "num_single_layers": 1,
                                                         "axes_dims_rope": (2, 2, 4)}, FLOW, 4,
                              {"tokens": T, "width": W, "pooled": P}),
}  # fmt: skip


def write(folder: Path, name: str, vae: dict[str, Any] | None = None, part: str = "") -> Any:
    """Write the pipeline -> its model; `vae`: keys of an autoencoder's config, which has no weights."""
    import diffusers

    cls, config, (scheduler, keys), _, _ = MODELS[name]
    torch.manual_seed(0)
    model = getattr(diffusers, cls)(**config).eval().requires_grad_(False)
    for p in model.parameters():  # zero at first, some of them
        p.add_(0.05 * torch.randn_like(p))
    part = part or ("unet" if cls.startswith("UNet") else "transformer")
    model.save_pretrained(folder / part)
    getattr(diffusers, scheduler)(**keys).save_pretrained(folder / "scheduler")
    index = {"_class_name": "APipeline", part: ["diffusers", cls], "scheduler": ["diffusers", scheduler]}
    if vae is not None:
        index["vae"] = ["diffusers", "AutoencoderKL"]
        (folder / "vae").mkdir()
        (folder / "vae" / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", **vae}))
    (folder / "model_index.json").write_text(json.dumps(index))
    return model
