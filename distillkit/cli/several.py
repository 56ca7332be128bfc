"""`run --nproc N`: this command line as several processes, here and on other machines."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from distillkit import launch
from distillkit.api import UsageError
from distillkit.cli import arguments

COMMAND = (sys.executable, "-m", "distillkit")
# In /dev of machines with GPUs; to learn from torch that there are none takes seconds.
DRIVERS = "nvidia[0-9]*", "kfd", "dxg"


def add(parser: ArgumentParser) -> None:
    """Add --nproc and what goes with it."""
    several = parser.add_argument_group("several processes, with the same numbers")
    several.add_argument("--nproc", type=_nproc, metavar="N", help="processes on this machine; gpu: one for each GPU")
    several.add_argument("--nnodes", type=arguments.whole(1, 10_000), metavar="N",
                         help="machines; the same command on each, but for --node-rank")  # fmt: skip
    several.add_argument("--node-rank", type=arguments.whole(0, 9_999), metavar="K", help="which one this is, from 0")
    several.add_argument("--master", type=_master, metavar="HOST:PORT", help="where machine 0 waits for the others")
    several.add_argument("--restarts", type=arguments.whole(0, 1000), metavar="N",
                         help="times to go on from the newest checkpoint after a process was lost (0)")  # fmt: skip
    several.add_argument("--timeout", type=arguments.positive, metavar="S",
                         help="seconds that a process waits for another (300)")  # fmt: skip


def launched(args: Namespace) -> int | None:
    """Start what --nproc asks for -> exit code; None: this process itself is to do the work.

    Raises UsageError, and Lost where another machine does not come.
    """
    if launch.joined(os.environ, srun=args.nproc is None):
        if args.nproc is not None:
            raise UsageError(f"already one of {os.environ['WORLD_SIZE']} processes: take away --nproc")
        if args.timeout is not None:
            os.environ["DISTILLKIT_TIMEOUT"] = f"{args.timeout:g}"
        return None
    if not wanted(args):
        return None
    if args.smoke:
        raise UsageError("--smoke tries the wiring in one process: take away --nproc")
    cpu = _there_are_fewer_gpus(args) and args.recipe and not args.extend and _on_cpu(args)
    task = task_of(args, [*COMMAND, *without_launch(args.argv)], on_cpu=bool(cpu))
    found = launch.lead(task) if task.node == 0 else launch.follow(task)
    if found.line and not (found.said and task.node == 0):
        print(f"error: {found.line}", file=sys.stderr)
    return found.code


def wanted(args: Namespace) -> bool:
    """Whether several processes are asked for. Raises UsageError for what goes with that alone."""
    names = ("nnodes", "node_rank", "master", "restarts", "timeout")
    given = [name for name in names if getattr(args, name) is not None]
    if args.nproc is None and given:
        raise UsageError(f"--{given[0].replace('_', '-')} goes with --nproc")
    return args.nproc is not None


def task_of(args: Namespace, command: Sequence[str], on_cpu: bool = False) -> launch.Task:
    """The command, as `args` says how often and where; `on_cpu`: more processes than GPUs, which none uses."""
    nnodes, node, master = args.nnodes, args.node_rank, args.master
    if nnodes is None and node is None and master is None:
        nnodes, node, master = launch.nodes_of_slurm(os.environ) or (1, 0, ("127.0.0.1", 0))
    nnodes, node = nnodes or 1, node or 0
    if nnodes > 1 and (master is None or (args.nnodes and args.node_rank is None)):
        raise UsageError("--nnodes goes with --node-rank K, from 0, and --master HOST:PORT of machine 0")
    if node >= nnodes:
        raise UsageError(f"--node-rank {node}, but --nnodes {nnodes}: ranks are from 0 to {nnodes - 1}")
    return launch.Task(
        command=command, nproc=_here(args, on_cpu), nnodes=nnodes, node=node,
        master=("127.0.0.1", 0) if nnodes == 1 else master, restarts=args.restarts or 0,
        timeout=args.timeout or launch.TIMEOUT, environment={"CUDA_VISIBLE_DEVICES": ""} if on_cpu else {},
    )  # fmt: skip


def without_launch(argv: Sequence[str]) -> list[str]:
    """The command line of one process: what only the launcher reads is left out."""
    ours = ArgumentParser(add_help=False)
    add(ours)
    return ours.parse_known_args(argv)[1]


def _here(args: Namespace, on_cpu: bool) -> int:
    """The number of processes on this machine. Raises UsageError where there are fewer GPUs, but some."""
    there = gpus()
    if args.nproc == "gpu":
        if not there:
            raise UsageError("--nproc gpu, but torch sees no GPU here: give a number")
        return there
    number = int(args.nproc)
    if 0 < there < number and not on_cpu:
        raise UsageError(f"--nproc {number}, but torch sees {there} GPU{'s' * (there > 1)} here")
    return number


def _there_are_fewer_gpus(args: Namespace) -> bool:
    return args.nproc != "gpu" and 0 < gpus() < int(args.nproc)


def _on_cpu(args: Namespace) -> bool:
    from distillkit.recipe import read

    return read(args.recipe, args.sets).run.device == "cpu"


def gpus() -> int:
    """Those that torch sees."""
    if not any(any(Path("/dev").glob(name)) for name in DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()


def _nproc(text: str) -> int | str:
    return text if text == "gpu" else arguments.whole(1, 1024)(text)


def _master(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise ArgumentTypeError(f"HOST:PORT, such as node7:29400: {text[:64]!r}")
    return host.strip("[]"), int(port)
