"""Small files in the real formats, of random content: what a smoke run reads in place of the files of a recipe."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from distillkit.api import Choice, Picture
from distillkit.assets.locate import wanted
from distillkit.assets.table import Asset
from distillkit.images.pack import pack
from distillkit.networks import imported, importers, network_file
from distillkit.recipe import choice_from_table, table_of, tiny
from distillkit.recipe.graph import with_result
from distillkit.registry import Catalog

PIXELS, IMAGES, WIDTH = 8, 32, 16  # of images; of features
AUGMENT_DIM = 9  # labels of EDM's augmentation


def images(folder: Path, labels: int, latent: bool, words: int = 0) -> Path:
    """Write a zip of random RGB images, or of latents of as many pixels.

    `labels`: how many classes, 0: none; `words`: numbers of a label that stands for embedded words, 0: classes.
    """
    path = folder / f"{'latents' if latent else 'images'}-{labels}{f'-{words}' if words else ''}.zip"
    if not path.exists():
        random = np.random.default_rng(0)
        noise = random.integers(0, 256, (IMAGES, PIXELS, PIXELS, 3), dtype=np.uint8)
        rows: list[Any] = random.normal(size=(IMAGES, words)).tolist() if words else [
            i % labels if labels else None for i in range(IMAGES)
        ]  # fmt: skip
        pictures = (Picture(str(i), x, row) for i, (x, row) in enumerate(zip(noise, rows, strict=True)))
        pack(pictures, path, None, encode=moments if latent else None)
    return path


def moments(pixels: np.ndarray) -> np.ndarray:
    """Encode pixels uint8 [H,W,3] as an autoencoder would: mean and std float32 [8,H,W]."""
    u = pixels.transpose(2, 0, 1).astype(np.float32) / 25.5 - 5
    return np.concatenate([u, u[:1], np.full_like(pixels[None, :, :, 0], 1, np.float32).repeat(4, 0)])


def network(
    checkpoint: str, folder: Path, labels: int, latent: bool, catalog: Catalog, channels: int = 3, pixels: int = PIXELS
) -> str:  # fmt: skip
    """Write a tiny network of the checkpoint's family, in a file of its kind. Raises InputError for an unknown one."""
    assets = wanted(checkpoint)
    family = assets[0].network if assets else imported.load_network(Path(checkpoint), catalog).card["network"]["use"]
    shape = "" if (channels, pixels) == (3, PIXELS) else f"-{channels}x{pixels}"
    path = folder / f"{family}{'-latents' * latent}-{labels}{shape}{Path(checkpoint).suffix}"
    if not path.exists():
        choice = tiny(choice_from_table("network", {"use": family}, catalog, "--smoke"))
        if hasattr(choice.config, "augment_dim"):
            choice = attrs.evolve(choice, config=attrs.evolve(choice.config, augment_dim=AUGMENT_DIM))
        torch.manual_seed(0)
        made = network_file.new_network(choice, pixels, 4 if latent else channels, labels)
        write(made, path, table_of(choice), catalog)
    return str(path)


def teacher(choice: Choice[Any], folder: Path, labels: int, latent: bool, catalog: Catalog) -> Choice[Any]:
    """The teacher with a tiny network in place of the one that it reads from a file."""
    config = choice.config
    if path := getattr(config, "checkpoint", None):
        return with_result(choice, network(path, folder, labels, latent, catalog))
    made = getattr(config, "architecture", None)  # of weights in a file that says nothing else
    if made is None:
        return choice
    at = folder / f"weights-{labels}-{len(list(folder.iterdir()))}"
    torch.manual_seed(0)
    network_file.save(at, network_file.new_network(tiny(made), PIXELS, 4 if latent else 3, labels), {"nimg": 0})
    return with_result(choice, at)


def write(made: network_file.Carded, path: Path, table: dict[str, Any], catalog: Catalog) -> None:
    """Write the network by the importer that reads such files, else as a result folder."""
    for offer in importers.offers(path, catalog):
        if importers.load(offer).write(path, cast(nn.Module, made)):
            return
    network_file.save(path, made, {"sampler": table, "nimg": 0})


def measuring(asset: Asset, folder: Path) -> str:
    """Write a feature network, or reference statistics, for `asset` -> its path; other assets keep their names."""
    if asset.kind not in ("features", "reference"):
        return asset.name
    path = folder / (f"features{Path(asset.name).suffix}" if asset.kind == "features" else "reference.npz")
    if not path.exists():
        if asset.kind == "features":
            script(path)
        else:
            np.savez(path, mu=np.zeros(WIDTH), sigma=np.eye(WIDTH))
    return str(path)


class FewFeatures(nn.Module):
    """Called like the published Inception file: bytes x [n,3,H,W] -> features [n,16], or class probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTH, 3, stride=2)

    def forward(self, x: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        features: Tensor = self.conv(x.float() / 255).relu().mean((2, 3))
        return features if return_features else features.softmax(1)


def script(path: Path) -> None:
    """Write a TorchScript file, the format of published feature networks, to `path`."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.manual_seed(0)
        torch.jit.save(torch.jit.script(FewFeatures()), path)
