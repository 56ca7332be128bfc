"""A toy world, in which any component can be tried in milliseconds: tiny images, a tiny teacher, a plain loss."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import attrs
import torch

from distillkit import __version__, noise
from distillkit.api import (
    Choice,
    Condition,
    Dataset,
    Denoiser,
    GeneratorLoss,
    Layout,
    Network,
    Prompts,
    TeacherScore,
    Use,
    field,
    frozen,
    ge,
    hookimpl,
)
from distillkit.device import pick_device
from distillkit.kit import chosen
from distillkit.networks import network_file
from distillkit.recipe import read
from distillkit.recipe.layer import Layer, overlay
from distillkit.recipe.paths import of_python
from distillkit.recipe.write import toml
from distillkit.registry import Catalog, Offer
from distillkit.train.build import build
from distillkit.train.ranks.alone import Ranks
from distillkit.train.step import Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distillkit.recipe import Recipe
    from distillkit.train.state import State

Tables = dict[str, Any]  # a recipe as TOML would hold it
Net = TypeVar("Net", bound="nn.Module | Denoiser")


class ToyImages(Dataset):
    """A pattern per class with noise, in images of any shape."""

    @frozen(kw_only=True)
    class Config:
        resolution: int = field(default=8, validator=ge(1))
        channels: int = field(default=2, validator=ge(1))
        label_dim: int = field(default=3, validator=ge(0))  # classes; 0: unconditional
        tokens: int = field(default=0, validator=ge(0))  # of a caption; then labels are its words, and no classes
        size: int = field(default=48, validator=ge(1))  # training images, and as many held out

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.resolution, self.channels = config.resolution, config.channels
        self.label_dim = self.layout.size
        self.shape = (config.channels, config.resolution, config.resolution)

    def open(self, root: Path) -> None:
        self._x = self._draw("train")

    def _draw(self, stream: str) -> Tensor:
        """[size,C,H,W], second moment about 0.2; the classes take turns."""
        classes = max(self.config.label_dim, 1)
        patterns = 0.4 * noise.rows("randn", 0, "toy/patterns", 0, classes, self.shape)
        n = noise.rows("randn", 0, f"toy/{stream}", 0, self.config.size, self.shape)
        return (patterns[torch.arange(len(n)) % classes] + 0.2 * n).clamp(-1, 1)

    def __len__(self) -> int:
        return self.config.size

    def images(self, index: Tensor) -> Tensor:
        return self._x[index]

    def labels(self, index: Tensor) -> Tensor | None:
        kinds = self.config.label_dim
        return self._rows()[index % kinds] if kinds else None

    def classes(self, index: Tensor) -> Tensor | None:
        return index % self.config.label_dim if self.config.label_dim else None

    @property
    def layout(self) -> Layout:
        if self.config.tokens and self.config.label_dim:
            return Layout(tokens=self.config.tokens, width=4, pooled=2)
        return Layout(classes=self.config.label_dim)

    def words(self, index: Tensor) -> list[str] | None:
        return [f"a small {i % self.config.label_dim}" for i in index.tolist()] if self.layout.has_words else None

    @property
    def prompts(self) -> Prompts | None:
        words = self.words(torch.arange(self.config.label_dim))
        return None if words is None else Prompts(words=tuple(words), rows=self._rows())

    def _rows(self) -> Tensor:
        """Labels [K,L] of the classes, or of their captions, of which each has one word less than the one before."""
        if not self.layout.has_words:
            return torch.eye(self.label_dim)
        kinds, T = self.config.label_dim, self.config.tokens
        mask = (torch.arange(T) < (T - torch.arange(kinds)[:, None]).clamp(min=1)).float()
        tokens = noise.rows("randn", 0, "toy/tokens", 0, kinds, (T, 4)) * mask[:, :, None]
        pooled = noise.rows("randn", 0, "toy/pooled", 0, kinds, (2,))
        return self.layout.pack(Condition(tokens=tokens, mask=mask, pooled=pooled))

    def held_out(self) -> Dataset:
        twin = ToyImages(self.config)
        twin._x = self._draw("held out")
        return twin


class ToyTeacher(TeacherScore):
    """A network of random weights: a denoiser only by its preconditioning."""

    @frozen(kw_only=True)
    class Config:
        network: Choice[Network] = Use("mlp", width=16, depth=1)

    network: Denoiser

    @hookimpl
    def setup(self, state: State) -> None:
        network = new_network(self.config.network, state.dataset)
        self.network = network.to(state.device, state.dtype).eval().requires_grad_(False)

    @hookimpl
    def teacher_score(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        return self.network(x, sigma, labels)


class ToyLoss(GeneratorLoss):
    """Pull images towards grey: the plainest host of other terms."""

    curves: ClassVar[dict[str, str]] = {"loss/generator": "Squared distance from grey, summed over pixels: it falls."}

    @hookimpl
    def generator_loss(self, step: Step) -> Tensor:
        return step.x.square().flatten(1).sum(1)


TOYS = {"dataset": ToyImages, "teacher_score": ToyTeacher, "generator_loss": ToyLoss}  # all by the name "toy"

DEFAULTS: Tables = {
    "schema": 1,
    "run": {"kimg": 0.08, "batch": 8},
    "dataset": {"use": "toy"},
    "teacher_score": {"use": "toy"},
    "generator": {"init": "teacher", "optimizer": {"lr": 1e-3}},
    "sample": {"use": "one-step"},
    "generator_loss": {"use": "toy"},
}
TINY: Tables = {
    "schema": 1,
    "run": {"kimg": 0.064, "batch": 16, "device": "cpu", "threads": 1, "grid": 10},
    "dataset": {"use": "gaussian-mixture", "size": 64},
    "teacher_score": None,
    "generator": {"init": "scratch", "network": {"use": "mlp", "width": 8, "depth": 2}},
    "sample": {"use": "one-step"},
    "generator_loss": {},
    "auxiliary_loss": None,
    "evaluate": [{"use": "mixture", "images": 64}],
}


def tiny_recipe(method: str, **tables: Any) -> str:
    """A recipe of installed components for `distillkit run`: eight Gaussians, four iterations by `method`.

    `tables` go over it; one that is None is left out.
    """
    found = merged(TINY, {"generator_loss": {"use": method}}, tables)
    return toml({name: table for name, table in found.items() if table is not None})


@cache
def catalog() -> Catalog:
    """What is installed, and the toys."""
    installed = Catalog.installed()
    toys = [Offer(kind, "toy", f"{__name__}:{cls.__name__}", "distillkit", __version__) for kind, cls in TOYS.items()]
    return attrs.evolve(installed, offers=(*installed.offers, *toys))


def merged(*layers: Tables) -> Tables:
    """Tables over tables as `extends` merges them; a table with another `use` replaces the one below."""
    low = Layer({})
    for tables in layers:
        low = overlay(low, Layer(tables))
    return low.data


def toy_recipe(**tables: Any) -> Recipe:
    """The toy recipe with `tables` over it, written as TOML and read like any other; it runs on `pytest --device`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "toy.toml")
        path.write_text(toml(merged(DEFAULTS, {"run": {"device": chosen["device"]}}, tables)), encoding="utf-8")
        with of_python(path):
            return read(path, catalog=catalog())


def toy_state(ranks: Ranks | None = None, **tables: Any) -> State:
    """The state of the toy recipe before its first iteration; `ranks`: this process among several, None: alone."""
    return build(toy_recipe(**tables), catalog(), ranks)


def device() -> torch.device:
    """What the contracts compute on: `pytest --device`."""
    return pick_device(chosen["device"])


def toy_step(state: State, turn: str = "generator", first: int = 0, n: int | None = None) -> Step:
    """What a turn sees of rows first ... first+n-1 (all: None); its `x` collects gradients."""
    return Step(state, turn, first, state.batch if n is None else n, state.batch, trains_generator=True)


def new_network(choice: Choice[Network], dataset: Dataset) -> network_file.Carded:
    """A network for images like the data set's; no layer is left at zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = network_file.new_network(choice, dataset.resolution, dataset.channels, dataset.label_dim)
        return perturbed(network)


@torch.no_grad()
def perturbed(network: Net) -> Net:
    """The network with 0.02 n added to all its weights, n ~ N(0,1): layers that start at zero hide mistakes."""
    for p in network.parameters():
        p.add_(0.02 * torch.randn_like(p))
    return network


def save_network(folder: Path, choice: Choice[Network], dataset: Dataset) -> None:
    """A result folder with such a network, for components that take a `checkpoint`."""
    network_file.save(folder, new_network(choice, dataset), {})
