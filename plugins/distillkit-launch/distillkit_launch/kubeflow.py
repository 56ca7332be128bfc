"""Kubeflow: a PyTorchJob of its training operator."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from attrs.validators import matches_re

from distillkit.api import Launch, field, frozen

PORT = 29400
NAME = r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"  # that Kubernetes takes, with what the operator adds


class Kubeflow(Launch):
    """Kubeflow: a PyTorchJob of the training operator, in JSON, which is YAML; kubectl submits it."""

    @frozen(kw_only=True)
    class Config:
        image: str = "distillkit:latest"  # a container image in which distillkit is installed
        name: str = field(
            default="distillkit", validator=matches_re(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
        )  # of the job
        namespace: str | None = None  # unset: kubectl's
        claim: str | None = None  # a PersistentVolumeClaim that all machines see as /runs
        restarts: int = 10  # times that a machine which failed starts again

    def render(self, command: Sequence[str], nodes: int, gpus: int) -> str:
        """The manifest: one master, and a worker for each further machine."""
        c = self.config
        metadata = {"name": c.name} | ({"namespace": c.namespace} if c.namespace else {})
        replicas = {"Master": self._replica(command, nodes, gpus, 1)}
        if nodes > 1:
            replicas["Worker"] = self._replica(command, nodes, gpus, nodes - 1)
        spec = {"runPolicy": {"backoffLimit": c.restarts}, "pytorchReplicaSpecs": replicas}
        made = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": metadata, "spec": spec}
        return json.dumps(made, indent=2) + "\n"

    def _replica(self, command: Sequence[str], nodes: int, gpus: int, number: int) -> dict[str, Any]:
        c = self.config
        container: dict[str, Any] = {
            "name": "pytorch",  # the operator looks for this one
            "image": c.image,
            "command": ["bash", "-c", self._script(command, nodes, gpus)],
        }
        if gpus:
            container["resources"] = {"limits": {"nvidia.com/gpu": gpus}}
        pod: dict[str, Any] = {"containers": [container]}
        if c.claim:
            container["volumeMounts"] = [{"name": "runs", "mountPath": "/runs"}]
            pod["volumes"] = [{"name": "runs", "persistentVolumeClaim": {"claimName": c.claim}}]
        return {"replicas": number, "restartPolicy": "OnFailure", "template": {"spec": pod}}

    def _script(self, command: Sequence[str], nodes: int, gpus: int) -> str:
        """The operator numbers machines in RANK; for us that is the number of a machine, not of a process."""
        run = shlex.join(self.processes(command, nodes, gpus))
        if nodes > 1:
            run += f' --nnodes {nodes} --node-rank "$node" --master "$MASTER_ADDR:{PORT}"'
        return f"node=$RANK; unset RANK WORLD_SIZE; exec {run}"
