"""Everything that changes during a run, and what components may ask of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import Choice, Component, Dataset, Embedding, Optimizer, TeacherScore, Turn, UsageError
from distillkit.recipe.schema import Recipe
from distillkit.train.optim import Updater
from distillkit.train.records import Records
from distillkit.train.skips import Skips
from distillkit.train.step import Step


@define(eq=False)
class Hooked:
    """A component asked by itself, wrappers included: `call` is its hook without the other components of its kind."""

    name: str
    slot: Any
    call: Callable[..., list[Any]]


@define(eq=False)
class State:
    """The run as its components see it."""

    recipe: Recipe
    device: torch.device
    dtype: torch.dtype
    dataset: Dataset
    held_out: Dataset | None
    cache: Path  # survives the run: feature networks and the like
    load_network: Callable[[str | Path], nn.Module]  # of a result, or a file to import
    with_dropout: Callable[[nn.Module], nn.Module]  # a copy with the dropout of [generator]
    figures: Path | None = None  # folder of the run for figures and data of analyses; none: nobody asked for any
    hook: Any = None  # pluggy's relay to the components that the recipe named
    teacher: TeacherScore | None = None
    auxiliaries: list[Hooked] = field(factory=list)
    evaluators: list[Hooked] = field(factory=list)
    components: dict[str, Component] = field(factory=dict)  # by their place in the recipe: "auxiliary_loss.0"
    networks: dict[str, nn.Module] = field(factory=dict)  # the ones that train, by name
    settings: dict[str, Optimizer] = field(factory=dict)
    frozen: set[str] = field(factory=set)  # the generator's parameters that the method does not train
    updaters: dict[str, Updater] = field(factory=dict)
    turns: list[Turn] = field(factory=list)
    generator: nn.Module | None = None  # what `sample` calls now: the student, or its average
    ema: nn.Module | None = None
    balance: dict[str, list[Tensor]] = field(factory=dict)  # norms at x behind weight = "auto": host's, term's
    made: dict[tuple[str, int, int, int], Tensor] = field(factory=dict)  # x that trained the generator, by Step.x
    records: Records = field(factory=Records)
    nimg: int = 0
    iteration: int = 0
    skips: Skips = field(init=False)  # updates that were not finite

    def __attrs_post_init__(self) -> None:
        self.skips = Skips(self.device)

    @property
    def seed(self) -> int:
        return self.recipe.run.seed

    @property
    def batch(self) -> int:
        return self.recipe.run.batch

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

    def add_critic(self, name: str, init: str = "teacher", optimizer: Optimizer | None = None) -> nn.Module:
        """A network that trains beside the generator: a copy of the "teacher" or of the "generator".

        Raises UsageError where the teacher is no network.
        """
        return self.add_network(name, self.copy_of(init), optimizer or Optimizer())

    def copy_of(self, init: str) -> nn.Module:
        """A copy of the "teacher" or of the "generator" that can train, with the dropout of [generator]."""
        source = self.generator if init == "generator" else self.teacher and self.teacher.network
        if source is None:
            raise UsageError(f"a critic starts as a copy of the {init}, but this recipe's {init} is no network")
        network = copy.deepcopy(source) if init == "generator" else self.with_dropout(source)
        network.compute_dtype = self.compute_dtype
        return network.to(self.device, self.dtype).requires_grad_(True)

    def add_network(self, name: str, network: nn.Module, optimizer: Optimizer) -> nn.Module:
        """Register a network that trains; it is checkpointed with its optimizer."""
        if name in self.networks:
            raise UsageError(f"two networks of this recipe want the name {name!r}")
        self.networks[name] = network.to(self.device, self.dtype)
        self.settings[name] = optimizer
        return network

    def embedding(self, choice: Choice[Embedding]) -> nn.Module:
        """The features that a field `Choice[Embedding]` of a config names, on the run's device and frozen."""
        net = choice.build().module(self.dataset.resolution, self.dataset.channels, self.seed)
        return net.to(self.device, self.dtype)

    def seed_masks(self, *parts: int | str) -> None:
        """Make torch's own generators, which dropout draws from, a function of seed, images seen and `parts`."""
        seed = noise.fold(self.seed, self.nimg, *parts)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed asks every kind of device, for 0.1 ms
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def sample(self, step: Step) -> Tensor:
        """One pass of the sampler over the rows of this step; dropout masks are a function of the step alone."""
        rows, shape = step.nimg + step.first, self.dataset.shape
        z = noise.rows("randn", self.seed, f"{step.images_of}/z", rows, step.n, shape, self.device).to(self.dtype)
        self.seed_masks(step.images_of, step.first, "sample")
        return self.hook.sample(state=self, z=z, labels=step.labels)

    @contextmanager
    def generating(self, network: Callable[..., Tensor]) -> Iterator[None]:
        """Inside, the sampler calls `network` instead of the student."""
        student, self.generator = self.generator, network
        try:
            yield
        finally:
            self.generator = student
