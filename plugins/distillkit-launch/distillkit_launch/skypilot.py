"""SkyPilot: a task."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from distillkit.api import Launch, frozen

PORT = 29400


class SkyPilot(Launch):
    """SkyPilot: a task, in JSON, which is YAML; `sky launch` submits it."""

    @frozen(kw_only=True)
    class Config:
        name: str = "distillkit"  # of the task
        accelerator: str = "H100"  # kind of GPU
        cloud: str | None = None  # such as "aws"; unset: the cheapest
        spot: bool = False  # machines that may be taken away
        workdir: str | None = "."  # folder that is copied to the machines
        setup: str = "pip install distillkit"  # once on each machine

    def render(self, command: Sequence[str], nodes: int, gpus: int) -> str:
        """The task."""
        c = self.config
        resources: dict[str, Any] = {"accelerators": f"{c.accelerator}:{gpus}"} if gpus else {}
        resources |= {"cloud": c.cloud} if c.cloud else {}
        resources |= {"use_spot": True} if c.spot else {}
        run = shlex.join(self.processes(command, nodes, gpus))
        if nodes > 1:
            master = f'"$(echo "$SKYPILOT_NODE_IPS" | head -n 1):{PORT}"'
            run += f' --nnodes {nodes} --node-rank "$SKYPILOT_NODE_RANK" --master {master}'
        task: dict[str, Any] = {"name": c.name, "num_nodes": nodes, "resources": resources}
        task |= {"workdir": c.workdir} if c.workdir else {}
        return json.dumps({**task, "setup": c.setup, "run": run}, indent=2) + "\n"
