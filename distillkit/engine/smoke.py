"""`--smoke`: any recipe in seconds on a CPU, without downloads: its components, tiny networks and images, two ticks.

Files of others are stood in for: images by random ones, teachers by networks of the same family with random weights,
published backbones and embeddings by random ones; metrics that need published files are left out. Waiting times
become zero, so that every loss is computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from distillkit.api import Choice, Network, Picture
from distillkit.assets.locate import wanted
from distillkit.engine import foreign, student
from distillkit.engine.pack import pack
from distillkit.recipe import choice_from_table, table_of
from distillkit.recipe.fields import fields
from distillkit.recipe.schema import Generator, Recipe, Run
from distillkit.registry import Catalog

PIXELS, CLASSES, IMAGES, BATCH, ITERATIONS = 16, 4, 32, 4, 4
WHERE = "--smoke"
TINY = {  # of a network's keys, those that it has
    "model_channels": 32, "channel_mult": (1, 1), "num_blocks": 1, "attn_resolutions": (8,), "channels_per_head": 16,
}  # fmt: skip
AUGMENT_DIM = 9  # labels of EDM's augmentation
STAND_INS = {"backbone": "random-pyramid", "embedding": "convnet"}  # for parts that need published files
WAITS = ("after_kimg", "start_kimg")
AT_MOST = {"pairs": 8, "steps": 1, "population": 64, "minimum": 8, "real_batch": 16, "images": 64, "iterations": 10}


def small(recipe: Recipe, folder: Path, catalog: Catalog) -> Recipe:
    """The recipe for a smoke run; what it stands in for files is written to `folder`."""
    data, generator, teacher = recipe.dataset, recipe.generator, recipe.teacher_score
    if hasattr(data.config, "path"):  # images from a file, and so of any size
        labels, latent = CLASSES if getattr(data.config, "labels", True) else 0, data.cls.latent
        table = {"use": "latents" if latent else "image-zip", "path": str(images(folder, labels, latent))}
        data = choice_from_table("dataset", table, catalog, WHERE)
        generator = attrs.evolve(
            generator, network=generator.network and tiny(generator.network),
            checkpoint=generator.checkpoint and network(generator.checkpoint, folder, labels, latent, catalog),
        )  # fmt: skip
        if teacher and getattr(teacher.config, "checkpoint", None):
            path = network(teacher.config.checkpoint, folder, labels, latent, catalog)
            teacher = attrs.evolve(teacher, config=attrs.evolve(teacher.config, checkpoint=path))
    measured = tuple(choice for choice in recipe.evaluate if not wanted(choice))
    recipe = attrs.evolve(
        recipe, run=short(recipe.run, len(measured) == len(recipe.evaluate)), dataset=data, teacher_score=teacher,
        generator=impatient(generator), evaluate=measured,
    )  # fmt: skip
    losses = {name: shrunk(getattr(recipe, name), catalog) for name in ("generator_loss", "auxiliary_loss", "evaluate")}
    return attrs.evolve(recipe, **losses)


def short(run: Run, measured: bool) -> Run:
    """Four iterations in two ticks; micro-batches where the recipe has them."""
    kimg = BATCH * ITERATIONS / 1000
    return attrs.evolve(
        run, kimg=kimg, tick_kimg=kimg / 2, checkpoint_kimg=kimg / 2, batch=BATCH, grid=BATCH, device="cpu", threads=1,
        micro_batch=run.micro_batch and BATCH // 2, keep_best=run.keep_best if measured else None,
    )  # fmt: skip


def impatient(generator: Generator) -> Generator:
    return attrs.evolve(generator, optimizer=attrs.evolve(generator.optimizer, warmup_kimg=0.0))


def images(folder: Path, labels: int, latent: bool) -> Path:
    """A zip of random RGB images, or of latents of as many pixels, with classes or without."""
    path = folder / f"{'latents' if latent else 'images'}-{labels}.zip"
    if not path.exists():
        noise = np.random.default_rng(0).integers(0, 256, (IMAGES, PIXELS, PIXELS, 3), dtype=np.uint8)
        pictures = (Picture(str(i), x, i % labels if labels else None) for i, x in enumerate(noise))
        pack(pictures, path, None, encode=moments if latent else None)
    return path


def moments(pixels: np.ndarray) -> np.ndarray:
    """As an autoencoder's: mean and std float32 [8,H,W] of pixels uint8 [H,W,3]."""
    u = pixels.transpose(2, 0, 1).astype(np.float32) / 25.5 - 5
    return np.concatenate([u, u[:1], np.full_like(pixels[None, :, :, 0], 1, np.float32).repeat(4, 0)])


def network(checkpoint: str, folder: Path, labels: int, latent: bool, catalog: Catalog) -> str:
    """A result folder with a tiny network of the checkpoint's family. Raises InputError if that cannot be told."""
    assets = wanted(checkpoint)
    family = assets[0].network if assets else foreign.load_network(Path(checkpoint), catalog).card["network"]["use"]
    path = folder / f"{family}-{labels}"
    if not path.exists():
        choice = tiny(choice_from_table("network", {"use": family}, catalog, WHERE))
        if hasattr(choice.config, "augment_dim"):
            choice = attrs.evolve(choice, config=attrs.evolve(choice.config, augment_dim=AUGMENT_DIM))
        torch.manual_seed(0)
        made = student.new_network(choice, PIXELS, 4 if latent else 3, labels)
        student.save(path, made, {"sampler": table_of(choice), "nimg": 0})
    return str(path)


def tiny(choice: Choice[Network]) -> Choice[Network]:
    """The same kind of network with few channels and two levels."""
    keys = {name: value for name, value in TINY.items() if hasattr(choice.config, name)}
    return attrs.evolve(choice, config=attrs.evolve(choice.config, **keys))


def shrunk(value: Any, catalog: Catalog) -> Any:
    """A Choice or config, parts included, that waits for nothing and needs few images and no published file."""
    if isinstance(value, tuple):
        return tuple(shrunk(part, catalog) for part in value)
    if isinstance(value, Choice):
        if value.kind in STAND_INS and wanted(value):
            return choice_from_table(value.kind, {"use": STAND_INS[value.kind]}, catalog, WHERE)
        return attrs.evolve(value, config=shrunk(value.config, catalog), slot=shrunk(value.slot, catalog))
    if not attrs.has(type(value)):
        return value
    changes = {}
    for key, attribute in fields(type(value)).items():
        part = getattr(value, attribute.name)
        if key.endswith(WAITS):
            part = 0.0
        elif key == "taps":  # resolutions
            part = tuple(tap for tap in part if tap <= PIXELS)
        elif key in AT_MOST and isinstance(part, int):
            part = min(part, AT_MOST[key])
        changes[attribute.name] = shrunk(part, catalog)
    return attrs.evolve(value, **changes)
