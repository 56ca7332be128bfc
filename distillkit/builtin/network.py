"""Any network as teacher: the result of a run, a released file, or an architecture here with its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distillkit.api import (
    FILE,
    Choice,
    Denoiser,
    Network,
    State,
    TeacherScore,
    UsageError,
    field,
    frozen,
    hookimpl,
    in_,
    optional,
)
from distillkit.api.slots import NoSlot
from distillkit.builtin.converted import AsWritten, Conversion, ConvertedNetwork
from distillkit.builtin.weights import load
from distillkit.convert import PREDICTIONS

if TYPE_CHECKING:
    from torch import Tensor


@frozen(kw_only=True, slots=False)
class Source:
    """Where a network comes from, and whether it is a denoiser."""

    checkpoint: str | None = field(default=None, metadata=FILE)
    """result folder, student.safetensors, or a file to import (.pkl); or `from`"""
    network: Choice[Network] | None = None  # architecture of the `weights`
    weights: str | None = field(default=None, metadata=FILE)
    """file of the network's weights, .safetensors or .pt; of a training checkpoint the average, where it has one"""
    prediction: str | None = field(default=None, validator=optional(in_(tuple(PREDICTIONS))))
    """what the network says of x_t, where it is called as net(x_t, t, labels); unset: it is a denoiser"""


class NetworkTeacher(TeacherScore):
    """Any network: the result of a run, a released file, or a network that is installed, with its weights."""

    hashed_as = "edm", "distillkit-edm"

    @frozen(kw_only=True)
    class Config(Conversion, Source):
        @property
        def architecture(self) -> Choice[Network] | None:
            """The network as a denoiser; None: the checkpoint says."""
            if self.network is None or self.prediction is None:
                return self.network
            shared = {name: getattr(self, name) for name in Conversion.__annotations__}
            config = ConvertedNetwork.Config(network=self.network, prediction=self.prediction, **shared)
            return Choice("network", "converted", ConvertedNetwork, config, NoSlot())

    network: Denoiser

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError where it is not said, or said twice, which network; InputError for files."""
        self.network = self._network(state).to(state.device, state.dtype).eval().requires_grad_(False)

    def _network(self, state: State) -> Any:
        c = self.config
        made = [key for key in ("network", "weights", "prediction") if getattr(c, key) is not None]
        if c.checkpoint is not None:
            if made:
                raise UsageError(f"teacher_score.{made[0]}: given together with checkpoint, which says it itself")
            return state.load_network(c.checkpoint)
        if not made:
            raise UsageError(
                'teacher_score.checkpoint is missing; write checkpoint = "path/to/result", from = "teacher.toml", or '
                'network = { use = "..." } and weights = "FILE.safetensors"'
            )
        choice = c.architecture
        if choice is None or c.weights is None:
            missing, has = ("network", made[0]) if choice is None else ("weights", "network")
            raise UsageError(f"teacher_score.{missing} is missing, and {has} is given: they go together")
        network = state.new_network(choice)
        if not hasattr(network, "sigma_max"):
            raise UsageError(f"teacher_score.prediction is missing, and network {choice.name!r} is no denoiser")
        # A file of its authors has their names.
        load(network.model if isinstance(network, AsWritten) else network, state.root / c.weights, choice.name)
        return network

    @hookimpl
    def teacher_score(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """D of the network without augmentation labels, which equals labels of zeros."""
        return self.network(x, sigma, labels)


class EdmTeacher(NetworkTeacher):
    """What `network` was called in 0.1."""

    renamed = "network"
