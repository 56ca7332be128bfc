"""What the environment says: is this one process of several, started by us, by torchrun or by srun?"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping

from distillkit.api import UsageError

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_OURS = {*NEEDED, "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "DISTILLKIT_TIMEOUT"}
_PORTS = 20_000, 12_000  # first, how many: below those that systems give to outgoing connections


def joined(environ: MutableMapping[str, str], *, srun: bool = True) -> bool:
    """Whether this process is one of several; where srun started it so, what torch asks for is filled in.

    `srun=False`: its tasks are launchers. Raises UsageError where only half of it is there.
    """
    if srun and not {"RANK", "WORLD_SIZE"} & environ.keys():
        environ.update(_task_of_slurm(environ))
    there = [name for name in ("RANK", "WORLD_SIZE") if name in environ]
    if not there:
        return False
    missing = [name for name in NEEDED if name not in environ]
    if missing:
        raise UsageError(f"{there[0]} is set but {missing[0]} is not: start with --nproc, or unset it")
    rank, size, port = (_number(environ, name) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    _number(environ, "LOCAL_RANK", "0")
    if rank >= size:
        raise UsageError(f"RANK = {rank}, but WORLD_SIZE = {size}: ranks are from 0 to {size - 1}")
    if not 0 < port < 65_536:
        raise UsageError(f"MASTER_PORT = {port}: ports are from 1 to 65535")
    return True


def alone(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is to run by itself, whoever starts it."""
    return {k: v for k, v in environ.items() if k not in _OURS and not k.startswith("TORCHELASTIC_")}


def nodes_of_slurm(environ: Mapping[str, str]) -> tuple[int, int, tuple[str, int]] | None:
    """Number of nodes, this one and (host, port) of the first, where srun started one task on each of several.

    Raises UsageError where it started more than one on a node: each of those is a process already.
    """
    if "SLURM_STEP_ID" not in environ:  # of srun alone: a batch script runs once, on the first node
        return None
    nodes, tasks = (_number(environ, name) for name in ("SLURM_NNODES", "SLURM_NTASKS"))
    if tasks != nodes:
        raise UsageError(
            f"--nproc under srun with {tasks} tasks on {nodes} nodes: give it --ntasks-per-node=1, or take away --nproc"
        )
    return (nodes, _number(environ, "SLURM_NODEID"), _first(environ)) if nodes > 1 else None


def _task_of_slurm(environ: Mapping[str, str]) -> dict[str, str]:
    """What torch asks for, of one of several tasks of srun; {}: this is none."""
    if "SLURM_STEP_ID" not in environ or int(environ.get("SLURM_NTASKS", "1")) < 2:
        return {}
    nodes, node = (_number(environ, name) for name in ("SLURM_NNODES", "SLURM_NODEID"))
    tasks = _number(environ, "SLURM_NTASKS")
    host, port = _first(environ)
    per_node = _tasks_per_node(environ.get("SLURM_STEP_TASKS_PER_NODE") or environ.get("SLURM_TASKS_PER_NODE", ""))
    local = per_node[node] if node < len(per_node) else max(1, tasks // nodes)
    return {
        "RANK": environ["SLURM_PROCID"], "WORLD_SIZE": str(tasks), "MASTER_ADDR": host, "MASTER_PORT": str(port),
        "LOCAL_RANK": environ.get("SLURM_LOCALID", "0"), "LOCAL_WORLD_SIZE": str(local),
    }  # fmt: skip


def _first(environ: Mapping[str, str]) -> tuple[str, int]:
    """Host of the first node, and a port that all tasks of the job find alike."""
    hosts = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or ""
    if not (first := first_host(hosts)):
        raise UsageError(f"SLURM_JOB_NODELIST = {hosts[:80]!r} names no host: give --nnodes, --node-rank and --master")
    first_port, ports = _PORTS
    job, step = (_number(environ, name, "0") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return first, first_port + (7 * job + step) % ports


def first_host(hosts: str) -> str:
    """The first of SLURM's list of hosts: "gpu[07-09,12],cpu1" -> "gpu07"."""
    found = re.match(r"([A-Za-z0-9._-]*)(?:\[(\d+)[^\]]*\]([A-Za-z0-9._-]*))?", hosts)
    return "".join(part or "" for part in found.groups()) if found else ""


def _tasks_per_node(text: str) -> list[int]:
    """SLURM's short form: "8(x2),4" -> [8, 8, 4]; what is not of that form -> []."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:\(x(\d{1,6})\))?", part)
        if match is None:
            return []
        found += [int(match[1])] * int(match[2] or 1)
    return found


def _number(environ: Mapping[str, str], name: str, default: str = "") -> int:
    text = environ.get(name, default)
    if not re.fullmatch(r"\d{1,9}", text):
        raise UsageError(f"{name} = {text[:64]!r} is no whole number: start with --nproc, or unset it")
    return int(text)
