"""The kinds of components: one base class each; kind = entry-point group = hook = TOML table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from distillkit.api.augment import Augment
from distillkit.api.command import Command
from distillkit.api.component import Component
from distillkit.api.dataset import Dataset
from distillkit.api.deprecated import deprecated
from distillkit.api.launch import Launch
from distillkit.api.logger import Logger
from distillkit.api.named import told_of
from distillkit.api.optimizer import Schedule, UpdateRule

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import Tensor, nn

    from distillkit.api.network import Denoiser
    from distillkit.api.rollout import Rollout
    from distillkit.api.state import State


class Sample(Component):
    """How the student generates; hook `sample`."""

    kind = "sample"

    @property
    def nfe(self) -> int:
        """Network calls per image."""
        return 1


class TeacherScore(Component):
    """The teacher; hook `teacher_score`. `network` is set by `setup` when the teacher is a network."""

    kind = "teacher_score"
    network: Denoiser | None = None


class Guidance(Component):
    """Guides any teacher: wraps the hook `teacher_score` with `@hookimpl(wrapper=True)`."""

    kind = "guidance"

    @property
    def scales(self) -> tuple[float, float] | None:
        """Lowest and highest scale, where each image has one of its own: the last entry of its labels; None: not so."""
        return None

    @property
    def usual_scale(self) -> float:
        """With `scales`: that of pictures, of metrics and of samples for which none is asked."""
        return 1.0 if self.scales is None else sum(self.scales) / 2


class GeneratorLoss(Component):
    """A distillation method; hook `generator_loss`, and `critic_loss` if it trains critics."""

    kind = "generator_loss"
    # Lowest layer of any recipe that uses this method: its published [sample] and [generator] settings.
    recipe_defaults: ClassVar[dict[str, Any]] = {}
    # What a number that it logs means, and how it goes in a healthy run, by name or pattern ("embedding/*"): a sentence
    # that stands under the curve on a run's page. The engine logs "loss/<turn>"; with both losses in one turn, they are
    # "loss/critic" and "loss/generator".
    curves: ClassVar[dict[str, str]] = {}
    # Set by a method of several steps: `step.x` is then made by the student's own steps to a random one of them.
    rollout: Rollout | None = None
    # Set by `setup` of a method that compares it with the teacher's score, else not there: a picture shows what both
    # make of the student's images.
    fake_score: Denoiser

    @property
    def network_keys(self) -> dict[str, Any]:
        """Keys that the method sets in the student's network, such as the form of its preconditioning."""
        if type(self).student is GeneratorLoss.student:
            return {}
        deprecated(f"{type(self).__name__}.student", "the property network_keys")
        return self.student

    @property
    def group(self) -> int:
        """So many neighbouring images belong together: batches, micro-batches, shares of ranks are multiples of it."""
        return 1

    @property
    def whole_weights(self) -> bool:
        """Whether it asks for gradients of whole weights (`step.grad_norm`), which ranks then do not share."""
        return False

    @property
    def student(self) -> dict[str, Any]:
        """What `network_keys` was called in 0.1."""
        return {} if type(self).network_keys is GeneratorLoss.network_keys else self.network_keys


class AuxiliaryLoss(Component):
    """A supplementary term; hook `auxiliary_loss`."""

    kind = "auxiliary_loss"
    # As of a method; the engine logs the term as "loss/<its name in recipes>".
    curves: ClassVar[dict[str, str]] = {}


class Evaluate(Component):
    """Metrics; hook `evaluate`. A metric `name` may come with its spread `name_sd`, and with what real images score.

    That is `name_floor`, or `name_ceiling` where more is better; these may have spreads too, `name_floor_sd`.
    """

    kind = "evaluate"
    # Which way each metric improves: {"fd": "lower", "recall": "higher"}, and "none" for one that is neither good nor
    # bad. A name may be a pattern, such as "drift_*"; the first that fits counts.
    better: ClassVar[dict[str, str]] = {}

    # What each metric means, in a sentence for a reader who does not know it; names and patterns as in `better`.
    means: ClassVar[dict[str, str]] = {}

    @classmethod
    def direction(cls, metric: str) -> str | None:
        """What `better` says of a metric by its name; None: nothing."""
        return told_of(metric, cls.better)

    @classmethod
    def meaning(cls, metric: str) -> str | None:
        """What `means` says of a metric by its name; None: nothing."""
        return told_of(metric, cls.means)

    def measures(self, state: State) -> Collection[str] | None:
        """The metrics that this run can have, spreads and floors aside, so that `run.keep_best` is checked in time.

        Asked after `setup`, of images without content too (`state.device` is "meta"). None: not known yet.
        """
        return None

    def remarks(self, metrics: Mapping[str, float]) -> list[str]:
        """What a reader of these final numbers of a student must know, in sentences; shown and kept beside them."""
        return []

    @property
    def protocol(self) -> dict[str, str]:
        """What the numbers can be compared with: protocol, images, seeds, hashes ...; shown and kept beside them."""
        if type(self).facts is Evaluate.facts:
            return {}
        deprecated(f"{type(self).__name__}.facts", "the property protocol")
        return self.facts

    @property
    def facts(self) -> dict[str, str]:
        """What `protocol` was called in 0.1."""
        return {} if type(self).protocol is Evaluate.protocol else self.protocol


class Network(Component):
    """An architecture; `module()` makes a denoiser D(x; sigma, labels) with random weights."""

    kind = "network"

    def module(self, resolution: int, channels: int, label_dim: int) -> nn.Module:
        """A module called as `net(x, sigma, labels=None, augment_labels=None) -> D [N,C,H,W]`.

        x [N,C,H,W], sigma [N,1,1,1] or anything that broadcasts to it, labels [N,L], augment_labels [N,A].
        It has the attributes `resolution, channels, label_dim, augment_dim, sigma_min, sigma_max, sigma_data` and
        `compute_dtype` (None, or torch.bfloat16 to run its layers in). Weights come from torch's global generator.
        """
        raise NotImplementedError


class Embedding(Component):
    """A frozen feature map for batch statistics; same seed, same weights."""

    kind = "embedding"

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        """A module in eval mode without parameter gradients: x [N,C,H,W] in [-1,1] -> features [N,D]."""
        raise NotImplementedError


class Backbone(Component):
    """Frozen feature maps at several scales, for a discriminator."""

    kind = "backbone"

    def module(self, state: State) -> nn.Module:
        """A module in eval mode without parameter gradients: `net(x, labels, randn_like) -> [maps [N,c,h,w]]`.

        x [N,C,H,W] in [-1,1], labels [N,L] or None, maps finest first; noise comes from `randn_like(x)` alone.
        """
        raise NotImplementedError


class Kernel(Component):
    """A positive-definite kernel; the squared MMD and its gradient are `distillkit.mmd`'s."""

    kind = "kernel"

    # k(a, b) = profile(r) of r = |a-b|^2 / s2 (radial), or of r = <a,b> / s2 (not radial).
    radial: ClassVar[bool] = True

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """k and dk/dr, element-wise, for r of any shape: two writable tensors, one of which may be r itself.

        A kernel that is singular at r = 0 returns dk/dr = 0 there: equal points do not push each other.
        """
        raise NotImplementedError


class Features(Component):
    """A feature network for metrics."""

    kind = "features"
    digest: str = ""  # of all that decides its numbers, set by `prepare`; "": unknown, nothing of it is cached
    distance: str = "fd"  # what metrics call a Frechet distance in them; "fid": in those of the published numbers
    layers: ClassVar[tuple[str, ...] | None] = None  # names that `__call__` returns; None: nobody told

    def prepare(self, dataset: Dataset, held_out: Dataset | None, cache: Path) -> None:
        """Load or train the network; what is worth keeping goes to `cache`, keyed by content."""

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Features by name, float32 [n,D]: "penultimate" always; "spatial", "logits" where the network has them."""
        raise NotImplementedError

    def probabilities(self, x: Tensor) -> Tensor:
        """Class probabilities, float32 [n,classes], where the network has them."""
        raise NotImplementedError


class Adapter(Component):
    """Few weights beside frozen ones, which student, critics and teacher share: what trains in their place."""

    kind = "adapter"

    def apply(self, network: nn.Module) -> None:
        """Add parameters, with which the network computes what it did; its own are frozen, and stay as they are.

        Random numbers are torch's, seeded by the engine. Parameters lie where those do that they stand beside.
        """
        raise NotImplementedError

    def merge(self, network: nn.Module) -> None:
        """Work what `apply` added, as it has trained, into the network's own parameters, and take it away again."""
        raise NotImplementedError

    def saved(self, network: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What of it goes into adapter_config.json and adapter_model.safetensors, for who has the shared weights."""
        raise NotImplementedError


class Importer(Component):
    """Reads networks from files of another make; its entry point's name is their suffix, without the dot.

    Or ends with it, "mine.pt", where several read files of one suffix; "mine.folder" reads folders.
    """

    kind = "importer"

    def declines(self, path: Path) -> str | None:
        """Why a file of its suffix is not its, in a few words; "": it is. None: it takes them all, asked last.

        A cheap look, such as at names of tensors; asked only where others read that suffix too, and of every folder
        that is no result. Never raises.
        """
        return None

    def reads(self, path: Path) -> list[Path]:
        """The files of a folder that make the network: once one is another, it is read anew. Raises InputError."""
        return [file for file in path.rglob("*") if file.is_file()]

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The card {"network": {"use": ..., its keys}, "resolution", "channels", "label_dim"}, and the state dict.

        The file is data: nothing that it names is imported or called. Raises InputError.
        """
        raise NotImplementedError

    def write(self, path: Path, network: nn.Module) -> bool:
        """Write a file that `read` reads, for smoke runs to stand in for a published one -> whether it can."""
        return False


# In pipeline order. The first five are hooks with a TOML table of their own; the rest are parts of those.
KINDS: dict[str, type[Component]] = {
    cls.kind: cls
    for cls in (
        Dataset, TeacherScore, Guidance, Network, Adapter, Sample, GeneratorLoss, AuxiliaryLoss,
        Evaluate, Augment, Embedding, Backbone, Kernel, Features, UpdateRule, Schedule, Importer, Logger, Launch,
        Command,
    )
}  # fmt: skip
