"""What components may ask of one (micro-)batch of one turn, `Step`.

Letters as in `State`: N images here, C channels, H x W pixels, L labels. What is a property is to be read only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Step(Protocol):
    """Rows `first ... first+n-1` of the global batch of a turn, drawn, decoded and generated only when touched.

    Everything random is a function of (seed, row): the k-th draw of a turn is its own stream.
    """

    n: int
    """N, images here."""

    batch: int
    """Images in the global batch."""

    first: int
    """Row of the first image here, in the global batch."""

    turn: str
    """The name of the turn."""

    @property
    def nimg(self) -> int:
        """Images seen before this iteration."""

    @property
    def x(self) -> Tensor:
        """Generated images [N,C,H,W]: a leaf that collects gradients where the generator trains, else a constant."""

    @property
    def labels(self) -> Tensor | None:
        """Labels [N,L] of `x`, and of the real images unless x is of another turn; None when unconditional."""

    @property
    def labels_cpu(self) -> Tensor | None:
        """`labels` on the CPU: to look into without waiting for the device."""

    @property
    def real(self) -> Tensor:
        """Real images [N,C,H,W]."""

    @property
    def real_labels(self) -> Tensor | None:
        """Labels [N,L] of the real images; None when unconditional."""

    @property
    def index(self) -> Tensor:
        """Which images of the data set `real` holds, int64 [N] on the CPU."""

    @property
    def own(self) -> Step:
        """The rows of this process, for a term that costs something: `auxiliary_loss` gets a step of the whole batch.

        Where there is one process, and in every other hook, it is the step itself.
        """

    def gather(self, rows: Tensor) -> Tensor:
        """Rows of `own` [M, ...] -> those of all processes [N, ...], for a term that is the same number in each.

        Its gradient goes to the rows of `own`, times the number of processes; the engine divides the term by that.
        """

    def mean(self, values: Tensor, keep: Tensor | None = None) -> Tensor:
        """Mean [...] of values [N, ...] over the images of the micro-batch; without any, of the batch in all processes.

        `keep` [N]: 1 for those that count, 0 for the others. Differentiable.
        """

    def grad_norm(self, losses: Tensor, parameter: Tensor) -> Tensor:
        """Norm [] of the gradient that the mean of losses [N] has at a parameter which trains; no gradient through it.

        The mean is over the images that `mean` is over. Raises UsageError where ranks share networks (--shard).
        """

    def jvp(
        self, f: Callable[..., Tensor], at: Sequence[Tensor], along: Sequence[Tensor],
        ends: tuple[Tensor | float, Tensor | float] | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """f(*at) with its graph and, without one, its derivative along the tensors `along`, of the shapes of `at`.

        f asks networks of the run, under the same dropout masks; under bf16 the derivative is computed in the dtype of
        the weights. Raises UsageError where a layer has no derivative in forward mode; `ends` (a, b) need none: the
        derivative is then (f(at + b along) - f(at + a along)) / (b - a).
        """

    def randn(self, *shape: int) -> Tensor:
        """Unit normal [N, *shape]."""

    def rand(self, *shape: int) -> Tensor:
        """Uniform in [0,1) [N, *shape]."""

    def randn_like(self, x: Tensor) -> Tensor:
        """Unit normal of the shape of x [N, ...]."""

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low,high) [N,1,1,1]."""

    def lognormal_sigma(self, P_mean: float, P_std: float) -> Tensor:
        """ln sigma ~ N(P_mean, P_std^2), one per image [N,1,1,1]."""
