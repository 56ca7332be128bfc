"""Images made by the student's own steps to a random one: the calls of `few-step`, as far as the draw says."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import Rollout
from distillkit.train.masked import seed_masks

if TYPE_CHECKING:
    from distillkit.train.step import Step


def rolled(step: Step, rollout: Rollout, z: Tensor) -> Tensor:
    """x [N,C,H,W] of a step by a rollout whose last calls have the noise z [N,C,H,W]."""
    calls = Rolled(step, rollout, z)
    given = step._given  # known where this pass makes again, for its gradient, what an earlier one made
    if given is None:
        with torch.set_grad_enabled(torch.is_grad_enabled() and rollout.gradient == "all"):
            given = calls.given()
    if step.recompute and rollout.gradient == "last":
        step._given = given
    return calls.call(*given, -1)


def last_calls(step: Step, rollout: Rollout) -> list[int]:
    """k of each row of the global batch, by arithmetic of the host: nothing waits to know how many calls."""
    state, calls = step.state, len(rollout.sigmas)
    if rollout.calls is not None:
        return [rollout.calls(state, step) - 1] * step.batch
    if state.device.type == "meta":  # what is counted there is a middling iteration
        return [calls // 2] * step.batch
    name = f"{step.same_images_as}/rollout/k"
    if rollout.drawn == "batch":
        return [noise.fold(state.seed, name, step.nimg) % calls] * step.batch
    return [noise.fold(state.seed, name, step.nimg + row) % calls for row in range(step.batch)]


class Rolled:
    """The calls of one step. `z` [N,C,H,W] is the noise of each row's last call; those before it have their own."""

    def __init__(self, step: Step, rollout: Rollout, z: Tensor) -> None:
        self.step, self.rollout, self.z = step, rollout, z
        every = last_calls(step, rollout)
        self.most = max(every)  # of all ranks: those that share a network make as many calls
        self.k = every[step.first : step.first + step.n]

    def given(self) -> tuple[Tensor, Tensor]:
        """What the last call of each row is given [N,C,H,W], and its noise level [N,1,1,1]."""
        c = self.rollout
        sigma = self._column([c.sigmas[k] for k in self.k]) if c.levels is None else self.levels[-1]
        if c.start == "data":  # but for the first level, which is that of noise alone
            noised = self.step._real_of_x + sigma * self.z
            return self._where([k == 0 for k in self.k], c.sigmas[0] * self.z, noised), sigma
        x = c.sigmas[0] * self._noise(0)
        for i in range(self.most):
            x = self._where([k > i for k in self.k], self._next(x, i), x)
        return x, sigma

    def call(self, x: Tensor, sigma: Tensor, i: int) -> Tensor:
        """The student asked; `i`: which call it is, -1: the last, by which it has its masks."""
        step = self.step
        net: Any = step.state.generator
        further = {"r": 0.0} if getattr(net, "second_time", False) else {}  # a jump to where the flow ends
        with seed_masks(step.state, step.first, step.n, step.same_images_as, "sample", i):
            D: Tensor = net(x, sigma, step.labels, **further)
        return D

    def _next(self, x: Tensor, i: int) -> Tensor:
        """What call i + 1 is given, of what call i is: its image with new noise."""
        c = self.rollout
        D = self.call(x, self._column([c.sigmas[i]] * len(x)) if c.levels is None else self.levels[i], i)
        D = D.clamp(-1, 1) if c.clamp else D
        if c.levels is not None:
            return D + self.levels[i + 1] * self._noise(i + 1)
        added: float = max(c.sigmas[i + 1] ** 2 - c.sigma_min**2, 0.0) ** 0.5
        return D + added * self._noise(i + 1)

    @cached_property
    def levels(self) -> list[Tensor]:
        """Drawn noise levels of all calls [N,1,1,1] each: none is above the one before."""
        sigmas = [self._column([self.rollout.sigmas[0]] * self.step.n)]
        for i in range(1, self.most + 1):
            drawn = cast(Any, self.rollout.levels)(self._rows("rand", f"level/{i}", (1, 1, 1)))
            sigmas.append(torch.minimum(drawn, sigmas[-1]))
        return sigmas

    def _noise(self, i: int) -> Tensor:
        """Unit normal [N,C,H,W] of what call i is given."""
        last = [k == i for k in self.k]
        if all(last):
            return self.z
        return self._where(last, self.z, self._rows("randn", str(i), tuple(self.z.shape[1:])))

    def _rows(self, kind: str, name: str, shape: tuple[int, ...]) -> Tensor:
        """Random numbers [N, *shape] of the rows of this step."""
        step = self.step
        stream, first = f"{step.same_images_as}/rollout/{name}", step.nimg + step.first
        return noise.rows(kind, step.state.seed, stream, first, step.n, shape, step.state.device).to(self.z)

    def _column(self, sigmas: list[float]) -> Tensor:
        """[N,1,1,1]."""
        if len(set(sigmas)) == 1:
            return self.z.new_full((len(sigmas), 1, 1, 1), sigmas[0])
        return self.step._on_device(torch.tensor(sigmas, dtype=torch.float64)).view(-1, 1, 1, 1)

    def _where(self, rows: list[bool], those: Tensor, others: Tensor) -> Tensor:
        """Rows of `those` where that is so, of `others` else."""
        if len(set(rows)) == 1:
            return those if rows[0] else others
        mask = self.step._on_device(torch.tensor(rows, dtype=torch.float32))
        return torch.where(mask.bool().view(-1, 1, 1, 1), those, others)
