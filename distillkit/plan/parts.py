"""Stand-ins on the meta device for what a recipe takes from files: networks by their cards, images by their shape."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from distillkit.api import Dataset, Importer, InputError
from distillkit.assets.folder import folder
from distillkit.assets.locate import located
from distillkit.networks import imported, network_file
from distillkit.plan.meta import DEVICE
from distillkit.recipe import choice_from_table
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog

Card = dict[str, Any]  # of a network: {"network": {"use": ...}, "resolution", "channels", "label_dim"}


class Blank(Dataset):
    """As many images and labels as another data set has, of the same shape, without content."""

    def __init__(self, channels: int, resolution: int, label_dim: int, size: int) -> None:
        super().__init__(None)
        self.channels, self.resolution, self.label_dim, self.size = channels, resolution, label_dim, size
        self.shape = (channels, resolution, resolution)

    def __len__(self) -> int:
        return self.size

    def images(self, index: Tensor) -> Tensor:
        return torch.empty(len(index), *self.shape, device=DEVICE)

    def labels(self, index: Tensor) -> Tensor | None:
        return torch.empty(len(index), self.label_dim, device=DEVICE) if self.label_dim else None


@cache
def published() -> dict[str, Any]:
    """Read what is known of released files, by their names: "network" -> Card, "images" -> how many."""
    return tomllib.loads(files("distillkit.plan").joinpath("published.toml").read_text(encoding="utf-8"))


def network(card: Card, catalog: Catalog) -> network_file.Carded:
    """Make the network of a card, without weights."""
    choice = choice_from_table("network", card["network"], catalog, where="the card of a network")
    with DEVICE:
        made = network_file.new_network(choice, card["resolution"], card["channels"], card["label_dim"])
    return made.eval().requires_grad_(False)


def card_of(checkpoint: str, catalog: Catalog) -> Card:
    """Read a checkpoint's card from its file or, for a released one, find it by its name. Raises InputError."""
    path = Path(located(checkpoint, folder()))
    if path.exists():
        if not imported.is_foreign(path):
            return network_file.read_card(path)
        importer = cast(type[Importer], catalog.load("importer", path.suffix.removeprefix(".").lower()))
        return importer(importer.Config()).read(path)[0]
    known: dict[str, Card] = published()["network"]
    if checkpoint not in known:
        raise InputError(f"{checkpoint} is missing, and its architecture is not known here")
    return known[checkpoint]


def images(recipe: Recipe, card: Card | None) -> Blank:
    """Make the recipe's images: as their files say or, where those are missing, as the network that draws them.

    Raises InputError where neither is known.
    """
    try:
        dataset = located(recipe.dataset, folder()).build()
        dataset.open(Path.cwd())
        return Blank(dataset.channels, dataset.resolution, dataset.label_dim, len(dataset))
    except InputError:
        if card is None:
            raise
    size = published()["images"].get(getattr(recipe.dataset.config, "path", None), recipe.run.batch)
    return Blank(card["channels"], card["resolution"], card["label_dim"], size)
