"""RAdam that can be told on the device to skip a step, as torch's fused Adam can."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class RAdam(torch.optim.RAdam):
    """torch's RAdam (arXiv:1908.03265) with its counters on the device, and `found_inf`.

    In float32 its bits are those of torch's own with foreach=False.
    """

    found_inf: Tensor | None = None  # []: 1.0 leaves everything as it is: torch's name, and type, for it

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override] # nobody here has a closure
        (group,) = self.param_groups
        params = [p for p in group["params"] if p.grad is not None]
        states = [self.of(p) for p in params]
        skipped = torch.zeros_like(states[0]["step"]) if self.found_inf is None else self.found_inf
        t = torch.stack([state["step"] for state in states]) + 1
        torch._foreach_add_([state["step"] for state in states], [1 - skipped] * len(states))
        for p, state, *scales in zip(params, states, *corrections(t.double(), *group["betas"]), strict=True):
            after = moved(p, state, group, *scales)
            for old, new in zip((p, state["exp_avg"], state["exp_avg_sq"]), after, strict=True):
                old.copy_(torch.where(skipped > 0, old, new))

    def of(self, p: Tensor) -> dict[str, Tensor]:
        """Counter and moments of a parameter."""
        # At the first gradient, as in torch's: a parameter that never gets one has no state to save.
        if not self.state[p]:
            zeros = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
            self.state[p] = {"step": torch.zeros((), device=p.device), **zeros}
        state: dict[str, Tensor] = self.state[p]
        return state


def corrections(t: Tensor, beta1: float, beta2: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """1 - beta1^t, (1 - beta2^t)^1/2, the rectification r and whether there is one, for steps t [P] -> [P] each."""
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    last = 2 / (1 - beta2) - 1  # rho_inf
    rho = last - 2 * t * beta2**t / c2
    r = ((rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho)) ** 0.5
    return c1, c2**0.5, r, rho > 5


def moved(
    p: Tensor, state: dict[str, Tensor], group: dict[str, Any], c1: Tensor, root2: Tensor, r: Tensor, rectified: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The parameter and its two moments after the step."""
    beta1, beta2 = group["betas"]
    assert p.grad is not None, "`step` leaves these out"
    g = p.grad.add(p, alpha=group["weight_decay"]) if group["weight_decay"] else p.grad
    m = state["exp_avg"].lerp(g, 1 - beta1)
    v = (state["exp_avg_sq"] * beta2).addcmul_(g, g, value=1 - beta2)
    d = m / c1 * group["lr"]
    # Both branches, and a choice: the counter is on the device, and an `if` on it would wait.
    d = torch.where(rectified, d * ((v.sqrt() + group["eps"]).reciprocal() * root2) * r, d)
    return p.add(d, alpha=-1), m, v
