"""The base of our own optimizers, whose state comes back from a checkpoint as it was written."""

from __future__ import annotations

from typing import Any

import torch


class Verbatim(torch.optim.Optimizer):
    """torch's would make every tensor of the weight's dtype: counters, codes and float32 moments alike."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but that each tensor keeps its dtype."""
        super().load_state_dict({**state_dict, "state": {}})
        for number, values in state_dict["state"].items():
            p = self.param_groups[0]["params"][number]
            self.state[p] = {name: value.to(p.device) for name, value in values.items()}
