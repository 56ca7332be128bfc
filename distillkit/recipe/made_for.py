"""Published files know what data they were made for: a recipe that takes them for other data would measure wrongly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from distillkit.api import Choice, Dataset
from distillkit.assets.table import Asset, table
from distillkit.recipe.keys import fields
from distillkit.recipe.problem import Key, key_text
from distillkit.recipe.schema import Recipe
from distillkit.recipe.shown import shown

TABLES = ("dataset", "teacher_score", "auxiliary_loss", "evaluate")  # [generator] may start from any network


@frozen
class Data:
    """What is known of some images; None: not known."""

    name: str | None = None  # as assets have it
    resolution: int | None = None  # of pixels
    vae: str | None = None  # the autoencoder that made the latents

    def fits(self, other: Data) -> bool:
        """May they be the same, for all that is known of both?"""
        pairs = (self.name, other.name), (self.resolution, other.resolution)
        return all(None in pair or pair[0] == pair[1] for pair in pairs)

    def __str__(self) -> str:
        size = "" if self.resolution is None else f"{self.resolution}x{self.resolution}"
        return " at ".join(filter(None, (self.name, size))) or "unknown"


def data_of(dataset: Choice[Any]) -> Data:
    """By the published file that the dataset reads, or by its class, if that is for one data set alone."""
    for _, asset in named(dataset.config):
        if asset.kind == "data":
            return _of(asset)
    name = getattr(dataset.cls, "known_as", "") or None
    sizes = {asset.resolution for asset in table().values() if asset.kind == "data" and asset.data == name}
    return Data(name, sizes.pop() if name and len(sizes) == 1 else None)


def misused(values: Mapping[str, Any]) -> Iterator[tuple[Key, str, str]]:
    """Key, message and hint of every published file in the tables of a recipe that was made for other data."""
    dataset = values.get("dataset")
    data = data_of(dataset) if isinstance(dataset, Choice) else Data()
    for key, asset in named({name: values.get(name) for name in TABLES}):
        if asset.kind == "vae" and data.vae not in (None, asset.name):
            yield key, f"{shown(asset.name)} does not decode these latents", f"they were made by {data.vae}"
        elif asset.kind in ("teacher", "reference") and not _of(asset).fits(data):
            same = [one.name for one in table().values() if one.kind == asset.kind and _of(one).fits(data)]
            hint = f"for these data: {', '.join(same)}" if same and data.name else ""
            yield key, f"{shown(asset.name)} is of {_of(asset)}, the data are {data}", hint


def misused_by(recipe: Recipe, dataset: Dataset) -> str:
    """What is wrong with the first statistics of images of another size than the opened data set's; empty if none is.

    For data that no name tells of.
    """
    images = Data(resolution=dataset.resolution)
    if dataset.latent or data_of(recipe.dataset) != Data():
        return ""
    for key, asset in named({"evaluate": recipe.evaluate}):
        if asset.kind == "reference" and not _of(asset).fits(images):
            return f"{key_text(key)}: {shown(asset.name)} is of {_of(asset)}, the images are {images}"
    return ""


def named(value: Any, at: Key = ()) -> Iterator[tuple[Key, Asset]]:
    """Every published file that a value names, by its own name or at the end of a path, and the key that does."""
    if isinstance(value, str):
        if asset := table().get(Path(value).name):
            yield at, asset
    elif isinstance(value, Choice):
        yield from named(value.config, at)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from named(part, (*at, key))
    elif isinstance(value, list | tuple):
        for n, part in enumerate(value):
            yield from named(part, (*at, n))
    elif attrs.has(type(value)):
        for key, attribute in fields(type(value)).items():
            yield from named(getattr(value, attribute.name), (*at, key))


def _of(asset: Asset) -> Data:
    return Data(asset.data, asset.resolution, asset.vae)
