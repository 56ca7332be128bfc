"""Latents of images in a zip or a folder, as EDM2's `dataset_tool.py encode` writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distillkit.api import FILE, InputError, Picture, UsageError, added_later, deep_iterable, field, frozen, gt, min_len
from distillkit.noise import fold
from distillkit_datasets.files import Files
from distillkit_datasets.held_out import FileSet
from distillkit_datasets.image_folder import in_folder
from distillkit_datasets.image_set import Source
from distillkit_datasets.image_zip import in_zip
from distillkit_datasets.npy import LARGEST, decode_npy
from distillkit_datasets.vae import Vae

SIGMA_DATA = 0.5  # standard deviation of the latents that networks see


class Latents(FileSet):
    """Latents: mean and std of a VAE's posterior as .npy files, in a zip or a folder (arXiv:2312.02696).

    x = (mean + std n - raw_mean) / raw_std / 2, with fresh unit noise n at each use in training.
    """

    latent = True

    @frozen(kw_only=True)
    class Config(FileSet.Config):
        vae: str | None = field(default=None, metadata=FILE)
        """decodes them: a folder of diffusers, or sd-vae-ft-mse.safetensors; unset: shown as they are"""
        signed_pixels: bool = field(default=False, metadata=added_later(False))
        """whether the VAE sees pixels in [-1,1], as those of diffusers, DiT and SiT do; EDM2's latents: in [0,1]"""
        raw_mean: tuple[float, ...] = field(default=(5.81, 3.25, 0.12, -2.15), validator=min_len(1))
        """mean of the latents, per channel"""
        raw_std: tuple[float, ...] = field(default=(4.17, 4.62, 3.71, 3.28), validator=deep_iterable(gt(0)))
        """standard deviation of the latents, per channel"""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if len(config.raw_mean) != len(config.raw_std):
            raise UsageError(f"raw_mean has {len(config.raw_mean)} numbers, raw_std {len(config.raw_std)}")
        self._scale = np.float32(SIGMA_DATA) / np.asarray(config.raw_std, np.float32)
        self._bias = -np.asarray(config.raw_mean, np.float32) * self._scale
        self._vae = None if config.vae is None else Vae(Path.cwd() / config.vae, config.signed_pixels)

    def open(self, root: Path) -> None:
        """Read names and labels. Raises InputError, also where the VAE cannot be had."""
        self.require()
        super().open(root)

    def require(self) -> None:
        """Raises InputError where the VAE cannot be had; loads nothing."""
        if self._vae is not None:
            self._vae.require()

    def _read(self, path: Path) -> Source:
        return LatentFiles(str(path), *(in_folder(path) if path.is_dir() else in_zip(path, LARGEST)))

    def _fill(self, source: Source) -> None:
        super()._fill(source)
        self.channels = len(self._scale)
        self.shape = (self.channels, *self.shape[1:])
        if self._stored[0] != 2 * self.channels:
            raise InputError(
                f"{source.where}: {source.names[0]}: {self._stored[0]} channels, must be {2 * self.channels}: "
                f"mean and std of {self.channels}"
            )

    def images(self, index: Tensor) -> Tensor:
        """Latents x [n,C,h,w] of int64 index [n], each with noise that is a function of its index."""
        draws = [torch.Generator().manual_seed(fold("latents", i)) for i in index.tolist()]
        return self._latents(index, torch.stack([torch.randn(self.shape, generator=draw) for draw in draws]))

    def sampled(self, index: Tensor, randn: Callable[..., Tensor]) -> Tensor:
        """Latents x [n,C,h,w] of int64 index [n] with fresh noise."""
        return self._latents(index, randn(*self.shape))

    def _latents(self, index: Tensor, n: Tensor) -> Tensor:
        mean, std = self._at(index).chunk(2, dim=1)
        return (mean + n * std) * _column(self._scale) + _column(self._bias)

    def decode(self, x: Tensor) -> Tensor:
        """Pixels [n,3,H,W] in [-1,1], 8-bit levels, of latents x [n,C,h,w]; x itself without a VAE."""
        if self._vae is None:
            return x
        return self._vae.decode(self._of_vae(x)).float() / 127.5 - 1

    def pixels_of(self, x: Tensor) -> Tensor:
        """The same with the gradient at x, as the VAE gives them; x itself without one."""
        return x if self._vae is None else 2 * self._vae.shown(self._of_vae(x)) - 1

    def _of_vae(self, x: Tensor) -> Tensor:
        """Latents as the VAE has them."""
        return (x.float() - _column(self._bias).to(x.device)) / _column(self._scale).to(x.device)

    def encode(self, pixels: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
        """What is stored of an image uint8 [H,W,3]: mean and std float32 [2C,h,w], computed on `device`.

        Raises UsageError without a VAE.
        """
        if self._vae is None:
            raise UsageError("latents are made by a VAE: name one")
        return self._vae.encode(pixels, device)

    def pictures(self, root: Path) -> Iterator[Picture]:
        """Raises UsageError."""
        raise UsageError(f"{self.config.path} holds latents, which are packed already")


class LatentFiles(Files):
    """The .npy files among some, in the order of their names."""

    def holds(self, name: str) -> bool:
        return name.endswith(".npy")

    def refuses(self, name: str) -> bool:
        return False

    def pixels(self, i: int) -> np.ndarray:
        """Mean and std float32 [h,w,2C]. Raises InputError that names the file."""
        return decode_npy(f"{self.where}: {self.names[i]}", self._read(self.names[i])).transpose(1, 2, 0)

    def beside(self, i: int) -> np.ndarray | None:
        """The same; None where it cannot be read."""
        try:
            return self.pixels(i)
        except InputError:  # told when it is its turn
            return None


def _column(numbers: np.ndarray) -> Tensor:
    """Per channel [C,1,1]."""
    return torch.from_numpy(numbers).view(-1, 1, 1)
