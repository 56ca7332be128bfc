"""Flow matching: the loss, worked by hand from the flow itself."""

from __future__ import annotations

from typing import Any

import torch

from distillkit.testing import toys

TINY = {"use": "flow-dit", "patch_size": 2, "hidden_size": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}


def test_the_loss_is_the_squared_error_of_the_flow() -> None:
    state = toys.toy_state(generator={"init": "scratch", "network": TINY}, generator_loss={"use": "flow-matching"})
    step, again = toys.toy_step(state), toys.toy_step(state)
    loss = state.hook.generator_loss(state=state, step=step, teacher_score=state.teacher_score)
    sigma, y = again.lognormal_sigma(0.0, 1.0), again.real
    n, t = again.randn_like(y), sigma / (1 + sigma)
    x_t = (1 - t) * y + t * n
    net: Any = state.generator
    flow = net.predict(x_t, t.flatten().double(), again.labels)
    torch.testing.assert_close(loss, (flow - (n - y)).square().flatten(1).sum(1), rtol=1e-3, atol=1e-3)
