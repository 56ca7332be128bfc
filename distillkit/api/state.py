"""What components may ask of a run, `State`.

Letters: N images here, C channels, H x W pixels, L labels. Images are in [-1,1]. What is a property is to be read only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from distillkit.api.choice import Choice
    from distillkit.api.condition import Layout
    from distillkit.api.dataset import Dataset
    from distillkit.api.kinds import Embedding, Network, TeacherScore
    from distillkit.api.network import Denoise, Denoiser, Teacher
    from distillkit.api.types import Optimizer, Turn

Module = TypeVar("Module", bound="nn.Module | Denoiser")
T = TypeVar("T")


class Sampling(Protocol):
    """What `sample` may ask: of a run, or of a finished student, where there is no run."""

    @property
    def generator(self) -> Denoise:
        """The network to call: the student, or its average."""

    @property
    def seed(self) -> int:
        """The run's seed, for noise of the sampler's own."""

    @property
    def device(self) -> torch.device:
        """Where tensors live."""

    @property
    def dtype(self) -> torch.dtype:
        """Of weights, images and noise."""


class State(Sampling, Protocol):
    """The run."""

    @property
    def batch(self) -> int:
        """Images per iteration, over all micro-batches."""

    @property
    def micro_batch(self) -> int:
        """Images per forward pass; `batch` is a multiple of it."""

    @property
    def total(self) -> int:
        """Images of the whole run."""

    @property
    def nimg(self) -> int:
        """Images seen before this iteration."""

    @property
    def iteration(self) -> int:
        """Iterations done before this one."""

    @property
    def device(self) -> torch.device:
        """Where tensors live. "meta" under `distillkit plan`, where they have no content: then write no files."""

    @property
    def compute_dtype(self) -> torch.dtype | None:
        """torch.bfloat16 where the layers of networks run in that, else None."""

    @property
    def dataset(self) -> Dataset:
        """The data set, open."""

    @property
    def layout(self) -> Layout:
        """What a row of `step.labels` holds: the data set's entries and, with a range of guidance scales, the scale."""

    @property
    def held_out(self) -> Dataset | None:
        """Its images that nothing trains on; None: it has none."""

    @property
    def cache(self) -> Path:
        """A folder that survives the run, shared with other runs: name what is in it by its content."""

    @property
    def root(self) -> Path:
        """The folder that relative paths of a recipe start from."""

    @property
    def figures(self) -> Path | None:
        """The run's folder for figures and data of analyses, to be made when needed; None: nobody wants any."""

    @property
    def recipe(self) -> Any:
        """The whole recipe, frozen."""

    @property
    def teacher(self) -> TeacherScore | None:
        """The teacher; None: the recipe has none. Its `network` is None for one in closed form."""

    @property
    def teacher_score(self) -> Teacher:
        """The teacher with its guidance, called like a network: what `generator_loss` is given.

        Gradients go through to x. Raises UsageError when it is called and the recipe has no teacher.
        """

    @property
    def guidance_scale(self) -> Tensor | None:
        """Within the hook `teacher_score`: the scale [N,1,1,1] that each image came with; None: none did."""

    def embed_words(self, words: Sequence[str]) -> Tensor:
        """Labels [K,L] of the data set for prompts or names of classes. Raises UsageError for unknown ones."""

    @property
    def generator(self) -> Denoiser:
        """The network that `sample` must call now: the student or, when pictures are drawn, its average.

        It exists when `setup` is called, but for the teacher's.
        """

    @property
    def ema(self) -> Denoiser:
        """The averaged student; it exists when `generator` does."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """All networks that train, by name: "generator", and those that were added."""

    turns: list[Turn]
    """The updates of an iteration, in order; for `setup` to fill. Where none trains the generator, a turn "critic" for
    all critics that have no turn and a turn "generator" come first."""

    frozen: set[str]
    """Names of the generator's parameters that do not train; for `setup` to add to."""

    @property
    def hook(self) -> Any:
        """The relay to all hooks: `state.hook.sample(state=state, z=z, labels=labels)`."""

    @overload
    def add_network(
        self, name: str, start: Literal["teacher", "generator"], optimizer: Optimizer | None = None
    ) -> Denoiser: ...
    @overload
    def add_network(self, name: str, start: Module, optimizer: Optimizer | None = None) -> Module: ...
    def add_network(self, name: str, start: Any, optimizer: Optimizer | None = None) -> Any:
        """In `setup`: a network that trains beside the generator, checkpointed with its optimizer.

        `start`: "teacher" or "generator" for a copy, see `copy_of`, or a module of your own.
        """

    def copy_of(self, start: Literal["teacher", "generator"]) -> Denoiser:
        """In `setup`: a copy of the teacher's network or of the generator, to be a part of a network to add.

        Where the teacher is in closed form it is of the generator. Raises UsageError without a teacher.
        """

    def add_copy(self, name: str, of: str = "generator", average: Callable[[], float] | None = None) -> Denoiser:
        """In `setup`: a frozen copy of a network that trains, checkpointed and kept by the run.

        Or of the "teacher", or of the "average" of the student's weights, by [generator] ema.
        `average`: asked after each iteration for the share of the copy that stays as its parameters follow the network,
        before `after_step`; None: it stays as it is.
        """

    def new_network(self, choice: Choice[Network], seed: int = 0) -> Denoiser:
        """In `setup`: a network of random weights for images like the data set's, which a result can be rebuilt from.

        `seed`: of its weights, beside the run's. A teacher that is a network is made so, and loads its weights into it.
        """

    def embedding(self, choice: Choice[Embedding], seed: int | None = None) -> nn.Module:
        """The features that a field `Choice[Embedding]` of a config names, frozen, on the run's device.

        `seed`: of their weights, where those are random; None: the run's.
        """

    def load_network(self, path: str | Path) -> Denoiser:
        """The frozen network of a run folder, a result folder, a student.safetensors or a file with an importer."""

    def teacher_from(self, choice: Choice[TeacherScore]) -> Teacher:
        """In `setup`: a further teacher that a field `Choice[TeacherScore]` of a config names, with its own guidance.

        It is called like `state.teacher_score`, frozen, and no part of [teacher_score]. Raises UsageError where it is
        for other images, or names a recipe by `from`.
        """

    def features(self, network: Denoise, taps: Sequence[int | str] | None = None) -> Callable[..., list[Tensor]]:
        """What layers of a network, or of a teacher's, say of an image: f(x, sigma, labels) -> [maps], as in `taps`.

        `taps`: numbers into its `encoder_features` (None: all), or names of modules, of any network: what these give in
        a whole pass. Gradients go to x. Raises UsageError for layers that there are not.
        """

    def rows(self, n: int) -> slice:
        """This process's share of n items of any work; all of them where there is one process."""

    def gather(self, rows: Tensor) -> Tensor:
        """The shares of all processes, in order, without gradient: rows [M, ...] here -> [n, ...]."""

    def share(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process, in all of them: for what is read from, or written to, a disk."""

    def record(self, name: str, value: Tensor | float) -> None:
        """Report a scalar [] at any time: its mean over the tick is shown and logged."""

    def generating(self, network: Denoise) -> AbstractContextManager[None]:
        """Inside, the sampler calls `network` instead of the student."""
