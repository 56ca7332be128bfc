"""Stand-ins on the meta device for what a recipe takes from files: networks by their cards, images by their shape."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distillkit.api import Dataset, InputError, Layout, Prompts
from distillkit.assets.folder import folder
from distillkit.assets.locate import located, wanted
from distillkit.dry.meta import DEVICE
from distillkit.networks import imported, importers, network_file
from distillkit.recipe import choice_from_table
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.train.build import opened

Card = dict[str, Any]  # of a network: {"network": {"use": ...}, "resolution", "channels", "label_dim"}


class Blank(Dataset):
    """As many images and labels as another data set has, of the same shape, without content."""

    def __init__(self, channels: int, resolution: int, label_dim: int, size: int, real: Dataset | None = None) -> None:
        """`real`: the data set itself, where it could be opened; None: nothing else is known of it."""
        super().__init__(None)
        self.channels, self.resolution, self.label_dim, self.size = channels, resolution, label_dim, size
        self.shape = (channels, resolution, resolution)
        self.real = real
        self.twin: Dataset | None = None
        self.classified = label_dim > 0
        if real is not None:
            self.latent, self.class_names = real.latent, real.class_names
            self.classified = real.classes(torch.arange(1)) is not None

    @classmethod
    def of(cls, real: Dataset) -> Blank:
        """The like of an opened data set, and of what it holds out."""
        made = cls(real.channels, real.resolution, real.label_dim, len(real), real)
        twin = real.held_out()
        made.twin = None if twin is None else cls(twin.channels, twin.resolution, twin.label_dim, len(twin), twin)
        return made

    def __len__(self) -> int:
        return self.size

    def images(self, index: Tensor) -> Tensor:
        return torch.empty(len(index), *self.shape, device=DEVICE)

    def labels(self, index: Tensor) -> Tensor | None:
        return torch.empty(len(index), self.label_dim, device=DEVICE) if self.label_dim else None

    @property
    def layout(self) -> Layout:
        return super().layout if self.real is None else self.real.layout

    @property
    def prompts(self) -> Prompts | None:
        return None if self.real is None else self.real.prompts

    def classes(self, index: Tensor) -> Tensor | None:
        return torch.empty(len(index), dtype=torch.int64, device=DEVICE) if self.classified else None

    def decode(self, x: Tensor) -> Tensor:
        """As the data set does, where it could be opened. Raises NotImplementedError for latents that were not."""
        if self.real is not None:
            return self.real.decode(x)
        if self.latent:
            raise NotImplementedError("nobody knows what decodes latents that are not here")
        return x

    def pixels_of(self, x: Tensor) -> Tensor:
        """As `decode`."""
        return self.decode(x) if self.real is None else self.real.pixels_of(x)

    def held_out(self) -> Dataset | None:
        return self.twin


@cache
def published() -> dict[str, Any]:
    """Read what is known of released files, by their names: "network" -> Card, "images" -> how many."""
    return tomllib.loads(files("distillkit.dry").joinpath("published.toml").read_text(encoding="utf-8"))


def network(card: Card, catalog: Catalog) -> network_file.Carded:
    """Make the network of a card, without weights."""
    choice = choice_from_table("network", card["network"], catalog, where="the card of a network")
    with DEVICE:
        made = network_file.new_network(choice, card["resolution"], card["channels"], card["label_dim"])
    return made.eval().requires_grad_(False)


def card_of(checkpoint: str, catalog: Catalog) -> Card:
    """Read a checkpoint's card from its file or, for a released one, find it by its name.

    Raises InputError for what no run could load.
    """
    path = Path(located(checkpoint, folder()))
    known: dict[str, Card] = published()["network"]
    if not path.exists() and checkpoint in known:
        return known[checkpoint]
    if imported.is_foreign(path, catalog) and importers.offers(path, catalog):
        return importers.reader(path, catalog).importer.read(path)[0]
    return imported.load_network(path, catalog).card


def checkpoints(recipe: Recipe) -> Iterator[str]:
    """List the checkpoints of the generator, the teacher and its guidance."""
    teacher = recipe.teacher_score
    guidance = teacher and teacher.slot.guidance
    for table in (recipe.generator, teacher and teacher.config, guidance and guidance.config):
        if name := getattr(table, "checkpoint", None):
            yield name


def shape_of(recipe: Recipe) -> Card | None:
    """What is known of the images of a released file, as a card has it."""
    config = recipe.dataset.config
    known = published()["shape"].get(getattr(config, "path", None))
    if known is None:
        return None
    channels, resolution, classes = known
    return {"channels": channels, "resolution": resolution, "label_dim": classes if config.labels else 0}


def images(recipe: Recipe, cards: Mapping[str, Card], catalog: Catalog) -> Blank:
    """Make the recipe's images: as their files say or, where those are missing, as the first network that draws them.

    Without a network, as published files are known to be. Raises InputError for files that are no published ones.
    """
    try:
        return Blank.of(opened(located(recipe, folder())))
    except InputError:
        first, shape = next(checkpoints(recipe), None), shape_of(recipe)
        if (first is None and shape is None) or not wanted(recipe.dataset):
            raise
        card = shape if first is None else cards[first] if first in cards else card_of(first, catalog)
    assert card is not None
    size = published()["images"].get(getattr(recipe.dataset.config, "path", None), recipe.run.batch)
    made = Blank(card["channels"], card["resolution"], card["label_dim"], size)
    made.latent = recipe.dataset.cls.latent
    return made
