"""`--smoke`: any recipe in seconds on a CPU, without downloads: its components, tiny networks and images, two ticks.

Files of others are stood in for (stand_ins.py): images, teachers, feature networks and reference statistics by random
ones in the same formats, published backbones and embeddings by random ones; metrics of latents, and of images asked for
by words, are left out. Each component says itself how small it can be (`Component.tiny`), so that every loss is
computed within two iterations.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import attrs

from distillkit.api import Choice, Layout
from distillkit.assets.locate import mapped, wanted
from distillkit.recipe import checkpoint, choice_from_table, read, tiny, with_checkpoint
from distillkit.recipe.schema import Generator, Guard, Recipe, Run
from distillkit.recipe.tiny import Stand
from distillkit.registry import Catalog
from distillkit.run import stand_ins

CLASSES, BATCH, ITERATIONS = 4, 4, 2
WHERE = "--smoke"
STAND_INS = {"backbone": "random-pyramid", "embedding": "convnet"}  # for parts that need published files


def small(recipe: Recipe, folder: Path, catalog: Catalog) -> Recipe:
    """Make the smoke run's recipe; files that stand in for the recipe's are written to `folder`."""
    data, latent, words = recipe.dataset, recipe.dataset.cls.latent, width_of_words(recipe, catalog)
    stand_in: Stand = partial(unpublished, catalog=catalog)
    if hasattr(data.config, "path"):  # images from a file, and so of any size
        labels = CLASSES if getattr(data.config, "labels", True) else 0
        images = stand_ins.images(folder, labels, latent, words)
        table = {"use": "latents" if latent else "image-zip", "path": str(images)}
        data = choice_from_table("dataset", table, catalog, WHERE)
        if path := checkpoint(recipe, "generator"):
            recipe = with_checkpoint(recipe, "generator", stand_ins.network(path, folder, labels, latent, catalog))
        recipe = attrs.evolve(recipe, generator=of_any_size(recipe.generator))
        stand_in = partial(unread, folder=folder, labels=labels, latent=latent, catalog=catalog)
        if recipe.teacher_score is not None:
            recipe = attrs.evolve(recipe, teacher_score=stand_in(recipe.teacher_score))
    elif (path := checkpoint(recipe, "teacher_score")) and wanted(path):  # beside data that are there
        shape = data.build()
        made = stand_ins.network(path, folder, shape.label_dim, latent, catalog, shape.channels, shape.resolution)
        recipe = with_checkpoint(recipe, "teacher_score", made)
    metrics = () if latent or words else recipe.evaluate
    stood_in = mapped(metrics, lambda asset: stand_ins.measuring(asset, folder))
    # Metrics may have other names where other features are measured in.
    keep_best = bool(metrics) and stood_in == metrics
    recipe = attrs.evolve(recipe, dataset=data, evaluate=stood_in, logger=())
    tables = ("generator", "sample", "generator_loss", "auxiliary_loss", "evaluate")
    recipe = attrs.evolve(recipe, **{name: tiny(getattr(recipe, name), stand_in) for name in tables})
    often = attrs.evolve(recipe.generator, ema_every=min(recipe.generator.ema_every, ITERATIONS))
    return attrs.evolve(recipe, generator=often, run=short(recipe.run, keep_best, recipe.group))


def width_of_words(recipe: Recipe, catalog: Catalog) -> int:
    """Numbers of a label that holds words, as the recipe's network wants them, or its teacher's; 0: labels are none."""
    for _ in range(8):  # teachers of teachers
        config: Any = recipe.generator.network and recipe.generator.network.config
        if tokens := getattr(config, "tokens", 0):
            return Layout(tokens=tokens, width=config.token_width, pooled=config.pooled).size
        if "teacher_score" not in recipe.start_paths:
            break
        recipe = read(recipe.start_paths["teacher_score"], (), catalog)
    return 0


def short(run: Run, keep_best: bool, group: int) -> Run:
    """Shorten `run` to two iterations, each a tick; micro-batches stay, and `keep_best` where it is so.

    `group`: images that are in one pass.
    """
    micro = -(-BATCH // 2 // group) * group
    batch = 2 * micro
    kimg = batch * ITERATIONS / 1000
    return attrs.evolve(
        run, kimg=kimg, tick_kimg=kimg / 2, checkpoint_kimg=kimg / 2, batch=batch, grid=BATCH, device="cpu", threads=1,
        micro_batch=run.micro_batch and micro, keep_best=run.keep_best if keep_best else None,
        guard=Guard(action="off"),
    )  # fmt: skip


def of_any_size(generator: Generator) -> Generator:
    """Without what is of the sizes of a network, and of the names of its layers: further inputs stay."""
    inputs = {key: value for key, value in generator.network_keys.items() if isinstance(value, bool)}
    return attrs.evolve(generator, network_keys=inputs, new_weights=(), unused_weights=())


def unpublished(part: Choice[Any], catalog: Catalog) -> Choice[Any]:
    """The part, or one of random weights in the place of one that needs a published file."""
    if part.kind in STAND_INS and wanted(part):
        return choice_from_table(part.kind, {"use": STAND_INS[part.kind]}, catalog, WHERE)
    return part


def unread(part: Choice[Any], folder: Path, labels: int, latent: bool, catalog: Catalog) -> Choice[Any]:
    """The same for images that stand in for others: teachers of files are for those."""
    if part.kind == "teacher_score":
        return stand_ins.teacher(part, folder, labels, latent, catalog)
    return unpublished(part, catalog)
