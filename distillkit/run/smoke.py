"""`--smoke`: any recipe in seconds on a CPU, without downloads: its components, tiny networks and images, two ticks.

Files of others are stood in for (stand_ins.py): images, teachers, feature networks and reference statistics by random
ones in the same formats, published backbones and embeddings by random ones; metrics of latents are left out. Waiting
times become zero, so that every loss is computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from distillkit.api import Choice
from distillkit.assets.locate import mapped, wanted
from distillkit.recipe import checkpoint, choice_from_table, with_checkpoint
from distillkit.recipe.keys import fields
from distillkit.recipe.schema import Generator, Guard, Recipe, Run
from distillkit.registry import Catalog
from distillkit.run import stand_ins

CLASSES, BATCH, ITERATIONS = 4, 4, 2
WHERE = "--smoke"
STAND_INS = {"backbone": "random-pyramid", "embedding": "convnet"}  # for parts that need published files
WAITS = ("after_kimg", "start_kimg")
AT_MOST = {
    "pairs": 8, "steps": 2, "population": 64, "minimum": 8, "real_batch": 16, "images": 64, "iterations": 10,
    "projection": 8, "width": 32, "cmap": 8,
}  # fmt: skip


def small(recipe: Recipe, folder: Path, catalog: Catalog) -> Recipe:
    """Make the smoke run's recipe; files that stand in for the recipe's are written to `folder`."""
    data, latent = recipe.dataset, recipe.dataset.cls.latent
    if hasattr(data.config, "path"):  # images from a file, and so of any size
        labels = CLASSES if getattr(data.config, "labels", True) else 0
        table = {"use": "latents" if latent else "image-zip", "path": str(stand_ins.images(folder, labels, latent))}
        data = choice_from_table("dataset", table, catalog, WHERE)
        for start in ("teacher_score", "generator"):
            if path := checkpoint(recipe, start):
                recipe = with_checkpoint(recipe, start, stand_ins.network(path, folder, labels, latent, catalog))
    metrics = () if latent else recipe.evaluate
    recipe = attrs.evolve(
        recipe, run=short(recipe.run, bool(metrics)), dataset=data, generator=impatient(recipe.generator),
        evaluate=mapped(metrics, lambda asset: stand_ins.measuring(asset, folder)),
    )  # fmt: skip
    tables = ("sample", "generator_loss", "auxiliary_loss", "evaluate")
    return attrs.evolve(recipe, **{name: shrunk(getattr(recipe, name), catalog) for name in tables})


def short(run: Run, measured: bool) -> Run:
    """Shorten `run` to two iterations, each a tick; micro-batches stay, and keep_best where metrics are `measured`."""
    best = run.keep_best and run.keep_best.replace("fid/fid", "fid/fd")  # its name in features that are not Inception's
    kimg = BATCH * ITERATIONS / 1000
    return attrs.evolve(
        run, kimg=kimg, tick_kimg=kimg / 2, checkpoint_kimg=kimg / 2, batch=BATCH, grid=BATCH, device="cpu", threads=1,
        micro_batch=run.micro_batch and BATCH // 2, keep_best=best if measured else None, guard=Guard(action="off"),
    )  # fmt: skip


def impatient(generator: Generator) -> Generator:
    """Make the network tiny, and its optimizer warm at once."""
    optimizer = attrs.evolve(generator.optimizer, warmup_kimg=0.0)
    return attrs.evolve(generator, optimizer=optimizer, network=generator.network and stand_ins.tiny(generator.network))


def shrunk(value: Any, catalog: Catalog) -> Any:
    """Change a Choice or config, parts included: it waits for nothing, and needs few images and no published file."""
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
            part = tuple(tap for tap in part if tap <= stand_ins.PIXELS)
        elif key in AT_MOST and isinstance(part, int):
            part = min(part, AT_MOST[key])
        changes[attribute.name] = shrunk(part, catalog)
    return attrs.evolve(value, **changes)
