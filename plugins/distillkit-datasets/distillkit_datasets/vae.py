"""Pixels to latents and back, by Stability's autoencoder or another of diffusers' AutoencoderKL, as EDM2 uses it.

The network is given pixels in [0,1], not in [-1,1]: so are the latents that EDM2's networks were trained on. `signed`
is the other way, that of pipelines of diffusers, of DiT and SiT.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from distillkit.api import InputError

BATCH = 8  # images per pass
WEIGHTS = "diffusion_pytorch_model.safetensors"
STABILITY: dict[str, Any] = {  # of stabilityai/sd-vae-ft-mse
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32,
    "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4, "act_fn": "silu", "sample_size": 256,
}  # fmt: skip
SCALE = 8  # pixels a side of one latent, in all that are published
RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # of attention, by diffusers
MISSING = 'needs diffusers, which is not installed: pip install "distillkit-datasets[vae]", or pip install diffusers'


class Vae:
    """An autoencoder in a folder of diffusers' layout, or Stability's weights in one .safetensors; loaded when used."""

    def __init__(self, path: Path, signed: bool = False) -> None:
        """`signed`: it is given pixels in [-1,1]."""
        self.path, self.signed = path, signed
        self._net: Any = None  # diffusers' AutoencoderKL, once it is needed

    def require(self) -> None:
        """Raises InputError where the files or diffusers are missing; loads nothing."""
        weights = self.path / WEIGHTS if self.path.is_dir() else self.path
        if not weights.is_file():
            raise InputError(f"{weights}: no such file; a VAE is a folder of diffusers, or sd-vae-ft-mse.safetensors")
        if not has_diffusers():
            raise InputError(f"{self.path}: a VAE {MISSING}")

    @torch.no_grad()
    def encode(self, pixels: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
        """Pixels uint8 [H,W,3] -> mean and std of the posterior, float32 [2C,h,w]; computed on `device`."""
        if pixels.shape[2] != 3:
            raise InputError(f"{pixels.shape[2]} channels, but the VAE encodes 3: red, green, blue")
        net = self._module(torch.device(device))
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(device).float() / 255
        posterior = net.encode(x).latent_dist
        return torch.cat([posterior.mean, posterior.std], dim=1)[0].float().cpu().numpy()

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Raw latents z [n,C,h,w] -> pixels uint8 [n,3,H,W], truncated, where z is; of "meta" ones the shape alone."""
        if z.is_meta:
            return z.new_empty(len(z), 3, *(SCALE * side for side in z.shape[2:]), dtype=torch.uint8)
        net = self._module(z.device)
        parts = [net.decode(part.float()).sample for part in z.split(BATCH)]
        return torch.cat([(part.clamp(0, 1) * 255).to(torch.uint8) for part in parts])

    def shown(self, z: Tensor) -> Tensor:
        """Pixels [n,3,H,W], about in [0,1], as the network gives them, with the gradient at z."""
        if z.is_meta:  # the shape, and a graph: what the network costs is not counted
            return z.mean(1, keepdim=True).repeat_interleave(SCALE, 2).repeat_interleave(SCALE, 3).expand(-1, 3, -1, -1)
        pixels: Tensor = self._module(z.device).decode(z).sample
        return pixels

    def _module(self, device: torch.device) -> Any:
        if self._net is None:
            self.require()
            net = load(self.path).eval().requires_grad_(False)
            self._net = Signed(net) if self.signed else net
        return self._net.to(device)


class Signed(nn.Module):
    """An autoencoder of pixels in [-1,1], called with pixels in [0,1]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Any = net

    def encode(self, x: Tensor) -> Any:
        return self.net.encode(2 * x - 1)

    def decode(self, z: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=(self.net.decode(z).sample + 1) / 2)


def has_diffusers() -> bool:
    """Whether diffusers is installed; it is not imported."""
    return importlib.util.find_spec("diffusers") is not None


def load(path: Path) -> Any:
    """The autoencoder of a folder or file. Raises InputError."""
    from diffusers import AutoencoderKL

    weights = path / WEIGHTS if path.is_dir() else path
    try:
        config = json.loads((path / "config.json").read_bytes()) if path.is_dir() else STABILITY
        net = AutoencoderKL.from_config(config)
        net.load_state_dict({_renamed(name): t for name, t in safetensors.torch.load_file(weights).items()})
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: no AutoencoderKL of diffusers ({type(error).__name__}: {reason})") from error
    return net


def _renamed(name: str) -> str:
    """A tensor's name as diffusers has it today; attention's parts had others."""
    if ".attentions." not in name:
        return name
    return ".".join(RENAMED.get(part, part) for part in name.split("."))
