"""Everything that changes during a run, and what components may ask of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, overload

import attrs
import torch
from attrs import define, field
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import (
    Choice,
    Component,
    Dataset,
    Denoise,
    Denoiser,
    Embedding,
    Guidance,
    Layout,
    Network,
    OncePerTurn,
    Optimizer,
    TeacherScore,
    Turn,
    UsageError,
)
from distillkit.api.deprecated import deprecated
from distillkit.networks import network_file
from distillkit.networks.asked import embed_words
from distillkit.recipe.schema import Recipe
from distillkit.train import host, shared
from distillkit.train.features import Features
from distillkit.train.optim import Updater
from distillkit.train.ranks.alone import Ranks
from distillkit.train.records import Records
from distillkit.train.skips import Skips
from distillkit.train.teacher import Relay

Module = TypeVar("Module", bound=nn.Module | Denoiser)
T = TypeVar("T")


@define(eq=False)
class Part:
    """A component asked by itself, wrappers included: `call` is its hook without the other components of its kind."""

    name: str
    slot: Any
    call: Callable[..., list[Any]]


@define(eq=False)
class Copy:
    """A frozen copy of a network that a component asked for; `average` gives the share of the old that stays."""

    module: nn.Module
    of: nn.Module | None  # None: the average of the student, whichever module that is by then
    average: Callable[[], float] | None


@define(eq=False)
class State:
    """The run as its components see it."""

    recipe: Recipe
    device: torch.device
    dtype: torch.dtype
    dataset: Dataset
    held_out: Dataset | None
    cache: Path  # survives the run: feature networks and the like
    _load_network: Callable[[str | Path], Denoiser]  # of a result, or a file to import
    with_dropout: Callable[[Denoiser], Denoiser]  # a copy with the dropout of [generator]
    ranks: Ranks = field(factory=Ranks)
    figures: Path | None = None  # folder of the run for figures and data of analyses; none: nobody asked for any
    hook: Any = None  # pluggy's relay to the components that the recipe named
    teacher: TeacherScore | None = None
    teachers: list[TeacherScore] = field(factory=list)  # that components named beside it
    auxiliaries: list[Part] = field(factory=list)
    evaluators: list[Part] = field(factory=list)
    components: dict[str, Component] = field(factory=dict)  # by their place in the recipe: "auxiliary_loss.0"
    networks: dict[str, nn.Module] = field(factory=dict)  # the ones that train, by name
    copies: dict[str, Copy] = field(factory=dict)  # that components asked for, by name
    settings: dict[str, Optimizer] = field(factory=dict)
    frozen: set[str] = field(factory=set)  # the generator's parameters that the method does not train
    updaters: dict[str, Updater] = field(factory=dict)
    once_per_turn: dict[str, list[OncePerTurn]] = field(factory=dict)  # modules of each network
    turns: list[Turn] = field(factory=list)
    # What `sample` calls now: the student, or its average. Both are made after the teacher's setup, which sees None.
    generator: Denoiser = field(default=cast(Denoiser, None), init=False)
    ema: Denoiser = field(default=cast(Denoiser, None), init=False)
    # What becomes the average as the generator trains: the same network, or, where ranks share it, one in pieces, of
    # which the first rank's `ema` is made whole before it draws.
    average: Denoiser = field(default=cast(Denoiser, None), init=False)
    teacher_score: Relay = field(init=False)
    layout: Layout = field(init=False)  # of labels as the student and its critics get them
    balance: dict[str, Tensor] = field(factory=dict)  # norms at x behind weight = "auto": the method's, the term's
    added: dict[Tensor, Tensor] = field(factory=dict)  # gradients that the ranks have added up before the update
    made: dict[tuple[str, int, int, int], Tensor] = field(factory=dict)  # x that trained the generator, by Step.x
    order: dict[str, dict[tuple[int, int], Tensor]] = field(factory=dict)  # by turn, first and number: which images
    records: Records = field(factory=Records)
    nimg: int = 0
    iteration: int = 0
    nets: dict[int, Callable[[Tensor], Tensor]] = field(factory=dict)  # of features, that all ranks have, by number
    skips: Skips = field(init=False)  # updates that were not finite

    def __attrs_post_init__(self) -> None:
        self.skips = Skips(self.device)
        if self.ranks.size > 1:
            self.records = Records(1 / self.ranks.size)
        self.teacher_score = Relay(self)
        self.layout = attrs.evolve(self.dataset.layout, guidance=self.guidance is not None)

    @property
    def guidance(self) -> Guidance | None:
        """The teacher's, where each image has a scale of its own."""
        found = cast(Guidance | None, self.components.get("teacher_score.guidance"))
        return found if found is not None and found.scales is not None else None

    @property
    def guidance_scale(self) -> Tensor | None:
        """Within the hook `teacher_score`: the scale [N,1,1,1] that each image came with; None: none did."""
        return self.teacher_score.scale

    def embed_words(self, words: Sequence[str]) -> Tensor:
        """Labels [K,L] of the data set for words: of prompts, or of names of classes. Raises UsageError."""
        return embed_words(self.dataset, words, self.device)

    @property
    def seed(self) -> int:
        return self.recipe.run.seed

    @property
    def batch(self) -> int:
        return self.recipe.run.batch

    @property
    def micro_batch(self) -> int:
        """Images per forward pass."""
        return self.recipe.run.micro_batch or self.batch

    @property
    def group(self) -> int:
        """So many neighbouring images of a batch are in one pass."""
        return getattr(self.components.get("generator_loss"), "group", 1)

    def rows(self, n: int) -> slice:
        """This process's share of n items of any work; all of them where there is one process."""
        return self.ranks.rows(n)

    def gather(self, rows: Tensor) -> Tensor:
        """The shares of all processes, in order, without gradient: rows [M, ...] here -> [n, ...]."""
        return self.ranks.gathered(rows)

    def share(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process, in all of them: for what is read from, or written to, a disk."""
        return self.ranks.share(make)

    @property
    def skipped(self) -> int:
        """Updates skipped in all, because a number was not finite; reading it waits for the device."""
        return int(self.skips.total)

    @property
    def compute_dtype(self) -> torch.dtype | None:
        """What the layers of networks run in where it is not `dtype`."""
        return torch.bfloat16 if self.recipe.run.precision == "bf16" else None

    @property
    def total(self) -> int:
        """Images of the whole run."""
        return round(self.recipe.run.kimg * 1000)

    @property
    def root(self) -> Path:
        """Folder that relative paths start from: where the command was given."""
        return Path.cwd()

    def record(self, name: str, value: Tensor | float) -> None:
        """Report a scalar: its mean over the tick is shown and logged."""
        self.records.add(name, value)

    @overload
    def add_network(
        self, name: str, start: Literal["teacher", "generator"], optimizer: Optimizer | None = None
    ) -> Denoiser: ...
    @overload
    def add_network(self, name: str, start: Module, optimizer: Optimizer | None = None) -> Module: ...
    def add_network(
        self, name: str, start: Any = None, optimizer: Optimizer | None = None, *, network: nn.Module | None = None
    ) -> Any:
        """A network that trains: a copy of the "teacher" or of the "generator" (see `copy_of`), or a module.

        It is checkpointed with its optimizer. Raises UsageError if the name is taken.
        """
        if network is not None:
            deprecated("state.add_network(network=...)", "state.add_network(name, start, optimizer)")
            start = network
        if name in self.networks:
            raise UsageError(f"two networks of this recipe want the name {name!r}")
        added: Any = self.copy_of(cast(Any, start)) if start is None or isinstance(start, str) else start
        self.networks[name] = added.to(self.device, self.dtype)
        self.settings[name] = optimizer or Optimizer()
        return added

    def add_critic(self, name: str, init: str = "teacher", optimizer: Optimizer | None = None) -> Denoiser:
        """The old form of `add_network`."""
        deprecated("state.add_critic(name, init, optimizer)", "state.add_network(name, start, optimizer)")
        return self.add_network(name, cast(Literal["teacher", "generator"], init), optimizer)

    def copy_of(self, start: Literal["teacher", "generator"]) -> Denoiser:
        """A copy of the "teacher" or of the "generator" that can train, with the dropout of [generator].

        A teacher in closed form has no weights to copy: the generator has. Raises UsageError without a teacher.
        """
        if start not in ("teacher", "generator"):
            raise UsageError(f'a network starts as a copy of the "teacher" or of the "generator", not of {start!r}')
        if start == "teacher" and self.teacher is None:
            raise UsageError("a network starts as a copy of the teacher: the recipe needs a [teacher_score] table")
        source = self.teacher.network if start == "teacher" and self.teacher else None
        if source is None and self.generator is None:
            raise UsageError("the setup of a teacher comes before the generator, which cannot be copied yet")
        network = copy.deepcopy(self.generator) if source is None else self.with_dropout(source)
        network.compute_dtype = self.compute_dtype
        network = network.to(self.device, self.dtype)
        if source is not None and (adapter := self.recipe.generator.adapter):
            shared.adapt(adapter, shared.like(network, source), self.seed, number=len(self.networks))
        return network.requires_grad_(True)

    def add_copy(self, name: str, of: str = "generator", average: Callable[[], float] | None = None) -> Denoiser:
        """A frozen copy of a network that trains, checkpointed, in evaluation mode; "teacher" and "average" are too.

        `average`: the share of the old that stays when the copy follows its network after each iteration (parameters
        only); None: it stays as it is. Raises UsageError for a name that is taken, and for an unknown network.
        """
        teacher = self.teacher and self.teacher.network
        known: dict[str, Any] = {"teacher": teacher, **self.networks, "average": self.average}
        if name in self.copies:
            raise UsageError(f"two copies of this recipe want the name {name!r}")
        if known.get(of) is None:
            names = ", ".join(name for name, network in known.items() if network is not None)
            raise UsageError(f"a copy {name!r} of {of!r}: the networks here are {names}")
        module = copy.deepcopy(known[of]).eval().requires_grad_(False)
        self.copies[name] = Copy(module, None if of == "average" else known[of], average)
        return cast(Denoiser, module)

    def new_network(self, choice: Choice[Network], seed: int = 0) -> Denoiser:
        """A network of random weights for images like the data set's, which a result can be rebuilt from."""
        # A teacher, whose setup comes first, is asked without the guidance scale.
        return self.made_network(choice, seed, self.dataset.layout.size if self.generator is None else self.layout.size)

    def made_network(self, choice: Choice[Network], seed: int, size: int) -> Denoiser:
        """The same for labels [N,size]."""
        dataset = self.dataset
        # A fork: a method that adds a network leaves the numbers of all others as they were.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(noise.fold(self.seed, "network", choice.name, seed))
            network = network_file.new_network(choice, dataset.resolution, dataset.channels, size)
        network.compute_dtype = self.compute_dtype
        return network.to(self.device, self.dtype)

    def embedding(self, choice: Choice[Embedding], seed: int | None = None) -> nn.Module:
        """The features that a field `Choice[Embedding]` of a config names, on the run's device and frozen."""
        seed = self.seed if seed is None else seed
        net = choice.build().module(self.dataset.resolution, self.dataset.channels, seed)
        return net.to(self.device, self.dtype)

    def load_network(self, path: str | Path) -> Denoiser:
        """The frozen network of a result, or of a file to import. Raises InputError."""
        return self._load_network(path)

    def teacher_from(self, choice: Choice[TeacherScore]) -> Relay:
        """A further teacher, with its guidance, as a field `Choice[TeacherScore]` names it; called like the first."""
        # Of files that know what a state is.
        from distillkit.train import further

        return further.teacher(self, choice)

    def features(self, network: Denoise, taps: Sequence[int | str] | None = None) -> Callable[..., list[Tensor]]:
        """What layers of a network say of an image: f(x, sigma, labels) -> [maps]. Raises UsageError for other taps."""
        return Features(network, taps)

    @contextmanager
    def generating(self, network: Denoise) -> Iterator[None]:
        """Inside, the sampler calls `network`, on the run's device, instead of the student."""
        # A sampler asks no more of it.
        student, self.generator = self.generator, cast(Denoiser, host.brought(network, self.device))
        try:
            yield
        finally:
            self.generator = student
