"""Images made by the student's own steps to a random one: the calls of `few-step`, as far as the draw says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import Rollout
from distillkit.train.masked import seed_masks

if TYPE_CHECKING:
    from distillkit.train.step import Step


class Rolled:
    """The calls of one step. `z` [N,C,H,W] is the noise of each row's last call; those before it have their own."""

    def __init__(self, step: Step, rollout: Rollout, z: Tensor) -> None:
        self.step, self.rollout, self.z = step, rollout, z
        # On the CPU: how many calls there are is known without a wait for the device.
        every = last_calls(step, rollout)
        self.k, self.calls = every[step.first : step.first + step.n], int(every.max()) + 1  # calls: alike on all ranks
        self.alike = rollout.drawn == "batch"

    def given(self) -> tuple[Tensor, Tensor]:
        """What the last call of each row is given [N,C,H,W], and its noise level [N,1,1,1]."""
        c, k = self.rollout, self.k
        if c.start == "data":
            x = self.step.real_of_x + self._levels(c.sigmas) * self.z
            return self._rows(0, c.sigmas[0] * self.z, x), self._levels(c.sigmas)
        x = c.sigmas[0] * self._noise(0)
        for i in range(self.calls - 1):
            D = self.call(x, self.z.new_full((len(x), 1, 1, 1), c.sigmas[i]), i)
            D = D.clamp(-1, 1) if c.clamp else D
            there = D + max(c.sigmas[i + 1] ** 2 - c.sigma_min**2, 0.0) ** 0.5 * self._noise(i + 1)
            x = there if self.alike else torch.where(self._mask(k > i), there, x)
        return x, self._levels(c.sigmas)

    def call(self, x: Tensor, sigma: Tensor, i: int) -> Tensor:
        """The student asked; `i`: which call it is, -1: the last, by which it has its masks."""
        step = self.step
        net: Any = step.state.generator
        further = {"r": 0.0} if getattr(net, "second_time", False) else {}  # a jump to where the flow ends
        with seed_masks(step.state, step.first, step.n, step.same_images_as, "sample", i):
            D: Tensor = net(x, sigma, step.labels, **further)
        return D

    def _noise(self, i: int) -> Tensor:
        """Unit normal [N,C,H,W] of what call i is given."""
        step, last = self.step, self.k == i
        if self.alike and bool(last.all()):
            return self.z
        state = step.state
        stream, first = f"{step.same_images_as}/rollout/{i}", step.nimg + step.first
        fresh = noise.rows("randn", state.seed, stream, first, step.n, self.z.shape[1:], state.device).to(self.z)
        return fresh if self.alike else torch.where(self._mask(last), self.z, fresh)

    def _levels(self, sigmas: tuple[float, ...]) -> Tensor:
        """sigmas[k] [N,1,1,1]."""
        if self.alike:
            return self.z.new_full((len(self.z), 1, 1, 1), sigmas[int(self.k[0])])
        return self.step.on_device(torch.tensor(sigmas, dtype=torch.float64)[self.k]).view(-1, 1, 1, 1)

    def _rows(self, i: int, those: Tensor, others: Tensor) -> Tensor:
        """Rows of `those` whose last call is i, of `others` else."""
        if self.alike:
            return those if int(self.k[0]) == i else others
        return torch.where(self._mask(self.k == i), those, others)

    def _mask(self, rows: Tensor) -> Tensor:
        return self.step.on_device(rows.to(torch.float32)).bool().view(-1, 1, 1, 1)


def last_calls(step: Step, rollout: Rollout) -> Tensor:
    """k of each row of the global batch, int64 [batch]; one number where they are alike."""
    state, calls = step.state, len(rollout.sigmas)
    if state.device.type == "meta":  # what is counted there is a middling iteration
        return torch.full((step.batch,), calls // 2, dtype=torch.long, device="cpu")
    n = 1 if rollout.drawn == "batch" else step.batch
    u = noise.rows("rand", state.seed, f"{step.same_images_as}/rollout", step.nimg, n, (1,))[:, 0]
    return (u * calls).long().clamp(max=calls - 1).expand(step.batch)


def rolled(step: Step, rollout: Rollout, z: Tensor) -> Tensor:
    """x [N,C,H,W] of a step by a rollout whose last calls have the noise z [N,C,H,W]."""
    calls = Rolled(step, rollout, z)
    given = step.given  # known where this pass makes again, for its gradient, what an earlier one made
    if given is None:
        with torch.set_grad_enabled(torch.is_grad_enabled() and rollout.gradient == "all"):
            given = calls.given()
    if step.recompute and rollout.gradient == "last":
        step.given = given
    return calls.call(*given, -1)
