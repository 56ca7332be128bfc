"""What a turn sees of one (micro-)batch: drawn, decoded and generated only when touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import Rollout, UsageError
from distillkit.api.deprecated import deprecated
from distillkit.train.jvp import Ends, jvp
from distillkit.train.masked import seed_masks
from distillkit.train.rollout import rolled
from distillkit.train.teacher import labels_of

if TYPE_CHECKING:
    from distillkit.train.state import State


def counts_as(step: Step) -> float:
    """What a number of this pass counts for: 1 where it is one of the recipe's passes, else its share of the batch."""
    return step.n / step.batch if step.of_batch and step.n != step.batch else 1


class Step:
    """Rows `first ... first+n-1` of the global batch of `turn`; everything random is a function of (seed, row).

    Attributes: `n` images here, `batch` images in the global batch, `turn` the name of the turn.
    """

    def __init__(
        self,
        state: State,
        turn: str,
        first: int,
        n: int,
        batch: int,
        trains_generator: bool = False,
        recompute: bool = False,
        same_images_as: str = "",
        stream: str = "",
        x: Tensor | None = None,
        of_batch: bool = False,
    ) -> None:
        """`recompute`: generate x without autograd now, and run the generator again in `backward`.

        It saves memory, and costs one forward pass.

        `same_images_as`: the turn whose z and labels x is made from; "": this one.
        `stream`: name of the random numbers that are drawn; "": the turn's.
        `x`: images [N,C,H,W] that there are already; None: made when touched.
        `of_batch`: means are over the global batch, whatever the micro-batch.
        """
        self.state, self.turn, self.first, self.n, self.batch = state, turn, first, n, batch
        self.trains_generator, self.recompute = trains_generator, recompute
        self.same_images_as = same_images_as or turn
        self.stream = stream or turn
        self.of_batch = of_batch or state.recipe.run.micro_batch is None
        self._draws = 0
        self._given: tuple[Tensor, Tensor] | None = None  # what the last call of a rollout got, to make it again
        if x is not None:
            self.x = x

    @property
    def nimg(self) -> int:
        """Images seen before this iteration."""
        return self.state.nimg

    # Other ranks.

    @property
    def own(self) -> Step:
        """The rows of this rank."""
        return self

    def gather(self, rows: Tensor) -> Tensor:
        """Rows of `own` [M, ...] -> those of all ranks [N, ...], for a loss that is the same on every rank."""
        return rows

    def mean(self, values: Tensor, keep: Tensor | None = None) -> Tensor:
        """Mean [...] of values [N, ...] over the images of the micro-batch; without any, of the batch on all ranks.

        `keep` [N]: 1 for those that count, 0 for the others. Differentiable.
        """
        keep = values.new_ones(len(values)) if keep is None else keep.to(values)
        total = (values * keep.view(-1, *[1] * (values.ndim - 1))).sum(0)
        sums = torch.cat([total.flatten(), keep.sum().view(1)])
        if self.of_batch:
            sums = self.state.ranks.sum(sums)
        return sums[:-1].view_as(total) / sums[-1]

    def grad_norm(self, losses: Tensor, parameter: Tensor) -> Tensor:
        """Norm [] of the gradient of mean(losses [N]) at a parameter, over the images that `mean` is over.

        The graph stays for the backward pass; what this one costs is the way from the losses to the parameter. Raises
        UsageError where ranks share networks.
        """
        if self.state.ranks.shards > 1:
            raise UsageError("a gradient's norm at a layer needs whole weights, of which ranks have pieces (--shard)")
        (grad,) = torch.autograd.grad(losses.sum(), parameter, retain_graph=True, materialize_grads=True)
        # Gradients of shares add up to that of the batch; their norms do not.
        whole = self.state.ranks.sum(grad) / self.batch if self.of_batch else grad / self.n
        norm: Tensor = whole.norm()
        return norm

    def jvp(
        self, f: Callable[..., Tensor], at: Sequence[Tensor], along: Sequence[Tensor], ends: Ends | None = None
    ) -> tuple[Tensor, Tensor]:
        """f(*at) and, without a graph, its derivative along `along`: in forward mode, or by the difference of ends."""
        return jvp(self.state, f, at, along, ends)

    # Randomness: the k-th draw of a turn is its own stream, row = image number.

    def _rows(self, kind: str, shape: tuple[int, ...]) -> Tensor:
        # Counted, not named: two draws of one loss are two streams, and a resumed run counts the same.
        self._draws += 1
        drawn = noise.rows(
            kind, self.state.seed, f"{self.stream}/{self._draws}", self.nimg + self.first, self.n, shape,
            self.state.device,
        )  # fmt: skip
        # Drawn in float32 whatever the precision: runs in fp64 and fp32 see the same noise.
        return drawn.to(self.state.dtype)

    def randn(self, *shape: int) -> Tensor:
        """Unit normal [N, *shape]."""
        return self._rows("randn", shape)

    def rand(self, *shape: int) -> Tensor:
        """Uniform in [0,1) [N, *shape]."""
        return self._rows("rand", shape)

    def randn_like(self, x: Tensor) -> Tensor:
        """Unit normal of the shape of x [N, ...]."""
        return self._rows("randn", tuple(x.shape[1:]))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low,high) [N,1,1,1]."""
        return low + (high - low) * self.rand(1, 1, 1)

    def lognormal_sigma(self, P_mean: float, P_std: float) -> Tensor:
        """ln sigma ~ N(P_mean, P_std^2), one per image [N,1,1,1]."""
        return noise.lognormal(self.randn(1, 1, 1), P_mean, P_std)

    # Data.

    @cached_property
    def index(self) -> Tensor:
        """Which images of the data set this step holds, int64 [N]."""
        return self._index(self.turn)

    @cached_property
    def real(self) -> Tensor:
        """Real images [N,C,H,W] in [-1,1]."""
        x = self._sampled(self.turn)
        if self.state.dataset.looks_ahead:
            self._tell_ahead()
        return x

    @property
    def _real_of_x(self) -> Tensor:
        """Real images [N,C,H,W] of the turn that made x: those of x's labels."""
        return self.real if self.same_images_as == self.turn else self._sampled(self.same_images_as)

    def _sampled(self, turn: str) -> Tensor:
        first = self.nimg + self.first

        def drawn(*shape: int) -> Tensor:  # a stream of its own, where the data are
            return noise.rows("randn", self.state.seed, f"{turn}/real", first, self.n, shape)

        return self._on_device(self.state.dataset.sampled(self._index(turn), drawn))

    def _tell_ahead(self) -> None:
        """Tell the data set which images these rows will hold when the turn comes again."""
        every = next((turn.every for turn in self.state.turns if turn.name == self.turn), 1)
        then = self.nimg + every * self.batch
        if then < self.state.total:
            self.state.dataset.ahead(self._order(self.turn, then))

    @cached_property
    def labels(self) -> Tensor | None:
        """Labels [N,L] of x, and of the real images unless x is of another turn; None when unconditional."""
        return None if self.labels_cpu is None else self._on_device(self.labels_cpu)

    @cached_property
    def labels_cpu(self) -> Tensor | None:
        """The same on the CPU, where the data are: to look into without waiting for the device."""
        # Of the turn that made x: the generator was told these classes, so its critics must be.
        return labels_of(self.state, self._index(self.same_images_as), self.same_images_as, self.first)

    @property
    def host_labels(self) -> Tensor | None:
        """The old name of `labels_cpu`."""
        deprecated("step.host_labels", "step.labels_cpu")
        return self.labels_cpu

    @property
    def real_labels(self) -> Tensor | None:
        """Labels [N,L] of the real images; None when unconditional."""
        if self.same_images_as == self.turn or self.labels is None:
            return self.labels
        labels = labels_of(self.state, self.index, self.same_images_as, self.first)
        return None if labels is None else self._on_device(labels)

    def _index(self, turn: str) -> Tensor:
        return self._order(turn, self.nimg)

    def _order(self, turn: str, nimg: int) -> Tensor:
        # A shuffle for each turn: a critic learns from other images than the generator's loss sees beside it.
        state, rows = self.state, (nimg, self.batch)
        known = state.order.setdefault(turn, {})
        if rows not in known:
            for old in [key for key in known if key[0] < self.nimg or key[1] != self.batch]:
                del known[old]
            # Of the whole batch, once an iteration: micro-batches, and turns on the same images, take parts of it.
            known[rows] = noise.shuffled(state.seed, f"{turn}/data", *rows, len(state.dataset))
        return known[rows][self.first : self.first + self.n]

    def _on_device(self, x: Tensor) -> Tensor:
        """A copy that waits for nothing which is under way there."""
        if self.state.device.type == "cuda" and x.device.type == "cpu":
            x = x.pin_memory()  # from memory that may be swapped out a copy begins when all before it has ended
        return x.to(self.state.device, self.state.dtype, non_blocking=True)

    # Generated images.

    @cached_property
    def x(self) -> Tensor:
        """Generated images [N,C,H,W]: a leaf that collects gradients where the generator trains, else a constant."""
        key = self.same_images_as, self.nimg, self.first, self.n
        # The images of before the generator's update are what its loss saw; they are there and cost no pass.
        if not self.trains_generator and key in self.state.made:
            return self.state.made[key]
        # Critics ask for no gradient of x: their images are made without a graph, in the memory of one layer.
        with torch.set_grad_enabled(self.trains_generator and not self.recompute):
            self._graph = self.sample()
        if self.trains_generator:
            self.state.made[key] = self._graph.detach()
        # A leaf: what losses, terms and critics have to say of an image adds up in x.grad [N,C,H,W], and only the sum
        # goes back through the generator, once. dL/dtheta = (dx/dtheta)^T sum_k dL_k/dx.
        return self._graph.detach().requires_grad_(self.trains_generator)

    @property
    def x_was_used(self) -> bool:
        """Whether x exists: somebody touched it, or it was given."""
        return "x" in self.__dict__  # where cached_property keeps it

    def sample(self) -> Tensor:
        """One pass of the sampler over the rows of this step -> images [N,C,H,W] with their graph.

        z [N,C,H,W] and the masks of dropout are functions of the step alone: a second pass gives the same bits.
        """
        state, rows = self.state, self.nimg + self.first
        z = noise.rows("randn", state.seed, f"{self.same_images_as}/z", rows, self.n, state.dataset.shape, state.device)
        rollout: Rollout | None = getattr(state.components.get("generator_loss"), "rollout", None)
        if rollout is not None:
            return rolled(self, rollout, z.to(state.dtype))
        # A pass of its own within another, which goes on with its own masks.
        with seed_masks(state, self.first, self.n, self.same_images_as, "sample"):
            x: Tensor = state.hook.sample(state=state, z=z.to(state.dtype), labels=self.labels)
        return x

    def backward(self) -> None:
        """Carry the gradient that x collected through the generator."""
        if self.x_was_used and self.x.grad is not None:
            self._pass().backward(self.x.grad)

    def pull(self, grad: Tensor, params: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The gradient of the generator's parameters that a gradient at x [N,C,H,W] amounts to; x keeps its graph."""
        if self.state.ranks.shards > 1:
            return self._pull_pieces(grad, params)
        # Every term pulls through the same graph. Zeros, not None, where x does not depend on a parameter: they add up.
        return torch.autograd.grad(self._pass(), params, grad, retain_graph=not self.recompute, materialize_grads=True)

    def _pull_pieces(self, grad: Tensor, params: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The same, of a generator in pieces: `backward` alone knows where its weights are; pieces come out summed."""
        before = [p.grad for p in params]
        for p in params:
            p.grad = None
        self._pass().backward(grad, retain_graph=not self.recompute)
        pulled = tuple(torch.zeros_like(p) if p.grad is None else p.grad for p in params)
        for p, was in zip(params, before, strict=True):
            p.grad = was
        return pulled

    def _pass(self) -> Tensor:
        return self.sample() if self.recompute else self._graph
