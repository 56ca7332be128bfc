"""A finished student as a function of its seeds: what `distillkit.load` gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pluggy
import torch
from attrs import frozen
from PIL import Image as PIL
from torch import Tensor

from distillkit.api import Choice, Dataset, Denoiser, Hooks, Images, InputError, Layout, Sample, UsageError
from distillkit.assets.folder import folder as assets
from distillkit.assets.locate import located
from distillkit.device import pick_device
from distillkit.disk.rundir import warn_of_collapse
from distillkit.images.pictures import grid
from distillkit.networks import imported, importers, network_file, sampled, shipped
from distillkit.networks.asked import Asking
from distillkit.networks.card import CALLS
from distillkit.recipe import choice_from_table, table_of
from distillkit.registry import Catalog
from distillkit.seeds import CHUNK, SEED_BLOCK, Labels, images

NO_SAMPLER = 'this network names no sampler; --sampler "heun steps=18" says one'
Classes = int | Sequence[int] | Tensor | Literal["random"] | None


@frozen
class WithoutRun:
    """What a sampler may ask of the state, where there is no run."""

    generator: Denoiser
    seed: int  # of the run
    device: torch.device
    dtype: torch.dtype


class Student:
    """A network with its sampler: `student(n=16, seed=0)` -> images x [n,C,H,W] in [-1,1]."""

    def __init__(
        self, network: Denoiser, sampler: Sample, card: dict[str, Any], data: Dataset | None = None,
        asking: Asking | None = None,
    ) -> None:  # fmt: skip
        """`data`: the data set that decodes its latents; `asking`: what its labels are, where they are no classes."""
        self.network, self.sampler, self.card, self.data = network, sampler, card, data
        self.asking = asking or Asking(layout=Layout(classes=network.label_dim))
        self.nfe, self.label_dim, self.prompts = sampler.nfe, self.asking.size, self.asking.prompts
        self.guidance: float | None = None  # scale of images for which none is asked; None: the usual one
        self.shape = (network.channels, network.resolution, network.resolution)
        hooks = pluggy.PluginManager("distillkit")
        hooks.add_hookspecs(Hooks)
        hooks.register(sampler)
        self._hook = hooks.hook

    def __call__(
        self, n: int = 16, seed: int = 0, labels: Classes = None, device: str | torch.device | None = None, *,
        prompts: Sequence[str] | None = None, guidance: float | None = None, text_encoder: str | Path | None = None,
    ) -> Tensor:  # fmt: skip
        """Images 0 ... n-1 of the block `seed`, those of the run's pictures: image i has EDM's seed 50000 seed + i.

        `labels`: a class, classes that take turns, a tensor [n,L], "random" (that seed's class); None: all take turns.
        `prompts`: words that take turns, of a student that takes words; those that its card does not name need the
        folder `text_encoder`, where the card's is not here. `guidance`: scale, of a student that takes one.
        `device` None: the GPU where there is one. Raises UsageError for labels that the student does not have.
        """
        if prompts is not None:
            if labels is not None:
                raise UsageError("labels and prompts are both given; keep one")
            labels = self.rows(prompts, n, text_encoder)
        with self.guided(guidance):
            return self.draw(range(SEED_BLOCK * seed, SEED_BLOCK * seed + n), labels, device).x

    def rows(self, prompts: Sequence[str], n: int, text_encoder: str | Path | None = None) -> Tensor:
        """Labels [n,L] of prompts that take turns. Raises UsageError where there are none, or they cannot be had."""
        if isinstance(prompts, str) or not prompts:
            raise UsageError('prompts: expected a list, such as ["a small five"]')
        rows = self.asking.rows(list(prompts), text_encoder)
        return rows[torch.arange(n) % len(rows)]

    @contextmanager
    def guided(self, guidance: float | None) -> Iterator[None]:
        """Inside, images are of this guidance scale; None: as it is."""
        before, self.guidance = self.guidance, self.guidance if guidance is None else guidance
        try:
            yield
        finally:
            self.guidance = before

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        labels = f", {self.label_dim} labels" if self.label_dim else ""
        labels = ", words" if self.asking.layout.has_words else labels
        return f"Student({self.card.get('recipe', 'of no recipe')}: {size}{labels}, NFE {self.nfe})"

    def sheet(self, n: int = 64, seed: int = 0, labels: Classes = None, columns: int | None = None) -> PIL.Image:
        """The same images on one sheet, enlarged: a picture of PIL, which notebooks show and `save` writes."""
        with TemporaryDirectory(prefix="distillkit-") as folder:
            x = self.decode(self(n, seed, labels))
            with PIL.open(grid(x, Path(folder) / "sheet.png", columns=columns)) as drawn:
                return drawn.copy()

    def draw(
        self, seeds: Sequence[int], labels: Classes = None, device: str | torch.device | None = None, batch: int = CHUNK
    ) -> Images:
        """Images of EDM's `seeds`, `batch` in a pass: x [n,C,H,W] and labels [n,L], on the CPU."""
        if not seeds:
            raise UsageError("no images were asked for: n must be at least 1")
        self.network.to(pick_device("auto") if device is None else device)
        given = self._given(labels, len(seeds))
        return images(self.sample, list(seeds), given, self, next(self.network.parameters()), batch)

    def sample(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Unit normal z [N,C,H,W], labels [N,L] -> x [N,C,H,W] where z is; computed where the network is."""
        weight = next(self.network.parameters())
        state = WithoutRun(self.network, self.card.get("seed", 0), weight.device, weight.dtype)
        labels = self.asking.scaled(None if labels is None else labels.to(weight.device), self.guidance)
        x: Tensor = self._hook.sample(state=state, z=z.to(weight.device), labels=labels)
        return x.to(z.device)  # drawing may have left the network on a GPU: that is no concern of who has z

    def decode(self, x: Tensor) -> Tensor:
        """The pixels [n,c,h,w] in [-1,1] of what the sampler makes, x [n,C,H,W]: x itself unless those are latents."""
        return x if self.data is None else self.data.decode(x)

    def _given(self, labels: Classes, n: int) -> Labels:
        """Classes as one-hot rows [n,L]."""
        dim, words = self.label_dim, self.asking.layout.has_words
        if words and not isinstance(labels, Tensor) and (self.prompts is None or labels not in (None, "random")):
            told = "its labels are words" if self.prompts else "its labels are words, and its card names no prompts"
            raise UsageError(f"labels: {told}: ask by prompts")
        if labels is None or (isinstance(labels, str) and labels == "random"):
            return None if labels is None else "random"
        if isinstance(labels, Tensor) and tuple(labels.shape) == (n, dim):
            return labels
        if isinstance(labels, str) or (isinstance(labels, Tensor) and labels.ndim > 1):
            raise UsageError(f'labels: expected classes, a tensor [{n}, {dim}] or "random"')
        classes = torch.as_tensor(labels).reshape(-1).tolist()
        wrong = [c for c in classes if type(c) is not int or not 0 <= c < dim]
        if wrong or not classes:
            known = f"classes 0 to {dim - 1}" if dim else "no labels: leave them out"
            raise UsageError(f"labels: {wrong[0] if wrong else 'nothing'} was asked for; the student has {known}")
        return torch.eye(dim)[[classes[i % len(classes)] for i in range(n)]]


def load(path: str | Path, sampler: sampled.Asked | None = None) -> Student:
    """The student of a run, a result folder or a student.safetensors, or by name: "digits/sid2a_el", "hf://USER/NAME".

    `sampler`: by which it draws, in place of its own, such as "heun steps=50" or {"use": "heun", "steps": 50}; then it
    may be any network too, what `convert` wrote or a file of another make. Raises InputError if files are missing,
    damaged, or say nothing of a sampler, UsageError for a sampler that there is not; warns of a run that collapsed.
    """
    path, catalog = shipped.found(Path(path)), Catalog.installed()
    asked = None if sampler is None else sampled.choice(sampler, catalog)
    path = ours(path, catalog, asked)
    card, where = network_file.read_card(path), network_file.files(path)[1]
    warn_of_collapse(where)
    choice = own_sampler(card, where, catalog) if asked is None else asked
    made = choice.build()
    if not 1 <= made.nfe <= CALLS:
        raise InputError(f"{where}: its sampler asks for {made.nfe} network calls per image, at most {CALLS}")
    network = network_file.load_network(path, catalog)
    network.compute_dtype = torch.bfloat16 if card.get("precision") == "bf16" else None
    decoder = card.get("decoder")
    data = decoder and located(choice_from_table("dataset", decoder, catalog, str(where)), assets()).build()
    if asked is not None:
        card = card | {"sample": table_of(asked), "nfe": made.nfe}
    return Student(network, made, card, data, Asking.read(card, network_file.files(path)[0]))


def ours(path: Path, catalog: Catalog, asked: Choice[Sample] | None) -> Path:
    """The path itself or, of a file of another make, the folder of what it is converted to."""
    if not imported.is_foreign(path, catalog) or not importers.offers(path, catalog):
        return path
    if asked is None:
        raise InputError(f"{path}: {NO_SAMPLER}")
    return imported.converted(path, catalog)


def own_sampler(card: dict[str, Any], where: Path, catalog: Catalog) -> Choice[Sample]:
    """The sampler that a card names. Raises InputError where it names none."""
    if "sample" not in card:
        raise InputError(f"{where}: {NO_SAMPLER}")
    return choice_from_table("sample", card["sample"], catalog, str(where))
