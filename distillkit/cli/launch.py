"""`distillkit launch`: a run on machines of a scheduler, as the text that it wants or put into its queue."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, _ArgumentGroup
from pathlib import Path

from distillkit.api import Launch, UsageError
from distillkit.cli import arguments, run
from distillkit.cli.several import COMMAND
from distillkit.recipe import choice_from_table, read
from distillkit.recipe.layer import Layer, override
from distillkit.registry import Catalog


def add(parser: ArgumentParser) -> None:
    run.add(parser)
    _own(parser)


def _own(parser: ArgumentParser) -> None:
    where = parser.add_argument_group("where")
    on(where, "such as slurm; distillkit plugins --kind launch lists them")
    where.add_argument("--submit", action="store_true", help="put it into the queue, instead of printing")
    where.add_argument("--logs", type=Path, default=Path("logs"), metavar="DIR", help="where its output goes (logs)")


def on(parser: _ArgumentGroup, told: str) -> None:
    """Add --on, --with, --nodes and --gpus; `told`: what --on is."""
    parser.add_argument("--on", metavar="NAME", help=told)
    parser.add_argument("--with", dest="with_", action="append", default=[], metavar="KEY=VALUE",
                        help="a key that distillkit plugins NAME explains, such as partition=gpu")  # fmt: skip
    parser.add_argument("--nodes", type=arguments.whole(1, 10_000), default=1, metavar="N", help="machines (1)")
    parser.add_argument("--gpus", type=arguments.whole(0, 64), default=0, metavar="N",
                        help="of each, with a process for each (0: a process on the CPU)")  # fmt: skip


def main(args: Namespace) -> int:
    """Print what the scheduler wants, or submit -> exit code."""
    _check(args)
    there = chosen(args.on, args.with_)
    own = ArgumentParser(add_help=False)
    _own(own)
    command = ["run", *own.parse_known_args(args.argv[1:])[1]]
    if not args.submit:
        sys.stdout.write(there.render(["distillkit", *command], args.nodes, args.gpus))
        return 0
    args.logs.mkdir(parents=True, exist_ok=True)
    (one,) = there.submit([[*COMMAND, *command]], args.nodes, args.gpus, args.logs)
    print(f"job {one.id}; its output: {one.log}")
    return 0


def _check(args: Namespace) -> None:
    """Refuse here what would be refused there. Raises UsageError."""
    run.check(args)
    if args.on is None:
        raise UsageError("--on NAME says where; distillkit plugins --kind launch lists what there is")
    for name in ("nproc", "nnodes", "node_rank", "master"):
        if getattr(args, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is what --nodes and --gpus say: take it away")
    if (args.restarts or args.timeout) and args.gpus == 0 and args.nodes == 1:
        raise UsageError("--restarts and --timeout are for several processes: --gpus and --nodes say how many")
    if args.recipe is not None and not args.extend:
        read(args.recipe, args.sets)


def chosen(name: str, keys: list[str]) -> Launch:
    """The launcher of that name, with its keys. Raises UsageError, InputError."""
    layer = Layer({})
    for text in keys:
        found = override(layer, text)
        if not isinstance(found, Layer):
            raise UsageError(f"--with {text}: {found.message}" + (f" ({found.hint})" if found.hint else ""))
        layer = found
    catalog = Catalog.installed()
    catalog.find("launch", name)  # which hints at the distribution to install
    made = choice_from_table("launch", {"use": name, **layer.data}, catalog, where="--with").build()
    if not isinstance(made, Launch):
        raise UsageError(f"{name} is no launch")
    return made
