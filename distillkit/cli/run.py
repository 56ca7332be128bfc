"""`distillkit run`: run a recipe for one seed or several, then show what came out."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

from distillkit import launch
from distillkit.api.errors import UsageError
from distillkit.api.explained import explained
from distillkit.cli import arguments, panel, screen, several
from distillkit.cli.console import console, tell
from distillkit.cli.runs import run_path
from distillkit.disk.remembered import is_run, run_of
from distillkit.disk.results import Outcome
from distillkit.train.ranks import join
from distillkit.train.ranks.alone import Ranks


def add(parser: ArgumentParser) -> None:
    arguments.recipe(parser, number="?", resumes=True)
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=arguments.seed, metavar="N", help="instead of the recipe's run.seed")
    seeds.add_argument("--seeds", type=arguments.seeds, metavar="0,1,2", help="run once for each, show mean and spread")
    parser.add_argument("--teacher-seeds", action="store_true",
                        help="give the seed to the recipes it builds on too, such as a teacher")  # fmt: skip
    parser.add_argument("--resume", type=run_path, metavar="RUN", help="instead of a recipe: go on with this run")
    parser.add_argument("--extend", action="store_true",
                        help="RECIPE is a run: train it on, to --set run.kimg=N, in a folder of its own")  # fmt: skip
    parser.add_argument("--wait", action="store_true", help="where another process has this run, wait for it to end")
    parser.add_argument("--take-over", action="store_true", help="from a dead process of another host, at once")
    parser.add_argument("--reuse-collapsed", action="store_true", help="take runs that collapsed for finished ones")
    parser.add_argument("--again", action="store_true", help="run even what is finished with the same fingerprint")
    parser.add_argument("--log", action="append", default=[], metavar="NAME",
                        help="a further logger, such as tensorboard; may be given more than once")  # fmt: skip
    arguments.trust(parser)
    parser.add_argument("--smoke", action="store_true", help="try the wiring: tiny networks, random images, two ticks")
    parser.add_argument("--shard", type=arguments.whole(1, 1024), metavar="N",
                        help="processes that share each network, which one GPU cannot hold; 1: none")  # fmt: skip
    several.add(parser)


def main(args: Namespace) -> int:
    """Run everything that was asked for -> exit code."""
    check(args)
    args.recipe = run_of(str(args.recipe)) if args.extend else args.recipe
    from distillkit.run import leash

    leash.obey()
    code = several.launched(args)
    if code is not None:
        return code
    if args.smoke:
        return _smoke(args)
    ranks = join.join(args.shard)
    try:
        if ranks.first:
            with ranks.leading():
                _lead(args, ranks)
        else:
            from distillkit.run import follow

            follow.follow(ranks)
    except BaseException as error:
        known = explained(error) if isinstance(error, Exception) else None
        ranks.fail(known.exit_code if known else 1, str(known or error) or type(error).__name__)
        ranks.leave(well=False)
        if ranks.first or known is None:
            raise
        return known.exit_code
    ranks.leave(well=True)
    return 0


def _lead(args: Namespace, ranks: Ranks) -> None:
    """Run what was asked for; other processes listen meanwhile."""
    from distillkit.run import runner

    out, live = console(), screen.choose()
    seeds = [_seeded(args, seed) for seed in args.seeds or [args.seed]]
    if args.seeds:
        of_seeds = dict(zip(args.seeds, seeds, strict=True))
        runner.tell_plan(args.recipe, of_seeds, args.runs, args.again, args.reuse_collapsed, live)
    students: list[Outcome] = []
    for sets, everywhere in seeds:
        outcomes = runner.run(
            None if args.extend else args.recipe, sets=sets, seed=everywhere, resume=args.resume,
            extend=args.recipe if args.extend else None, runs=args.runs, again=args.again,
            wait=args.wait, take_over=args.take_over, collapsed=args.reuse_collapsed, screen=live,
            told=bool(args.seeds), trusted=args.trust, ranks=ranks, logs=args.log,
        )  # fmt: skip
        students.append(outcomes[-1])
        tell(out, panel.outcome(students[-1], out.width, last=len(students) == len(seeds)))
    if len(students) > 1:
        tell(out, panel.spread(students, args.seeds, out.width))


def check(args: Namespace) -> None:
    """Refuse arguments that do not go together. Raises UsageError."""
    if (args.recipe is None) == (args.resume is None):
        raise UsageError("give a RECIPE to run, or --resume RUN to go on with a run" + ", not both" * bool(args.resume))
    if args.recipe and not args.extend and is_run(args.recipe):
        run = args.recipe
        raise UsageError(f"{run} is no recipe, it is a run: --resume {run}, or {run} --extend --set run.kimg=N")
    if args.resume and (args.seeds or args.seed is not None or args.sets or args.again):
        raise UsageError("--resume goes on with a run as it is: no --set, --seed, --seeds, --again")
    if args.extend and (args.resume or args.seeds or args.seed is not None or args.again or args.smoke):
        raise UsageError("--extend RUN --set run.kimg=N: no --resume, --seed, --seeds, --again, --smoke")
    if (args.shard or 1) > 1 and args.nproc is None and not launch.joined(os.environ, srun=True):
        raise UsageError("--shard N goes with several processes: --nproc N")
    if args.smoke and (args.resume or args.seeds):
        raise UsageError("--smoke runs a RECIPE once: no --resume, no --seeds")
    if not args.smoke and args.teacher_seeds and args.seed is None and not args.seeds:
        raise UsageError("--teacher-seeds goes with --seed or --seeds")


def _seeded(args: Namespace, seed: int | None) -> tuple[list[str], int | None]:
    """Settings of the recipe asked for, and the seed for all recipes: None where those it builds on keep theirs."""
    if seed is None or args.teacher_seeds:
        return args.sets, seed
    return [*args.sets, f"run.seed={seed}"], None


def _smoke(args: Namespace) -> int:
    """Try the wiring: every recipe of the graph, tiny and short, in a folder that goes again -> exit code."""
    from distillkit.assets.folder import elsewhere
    from distillkit.registry import Catalog
    from distillkit.run import runner, smoke

    catalog = Catalog.installed()
    with TemporaryDirectory(prefix="distillkit-smoke-") as folder, elsewhere(folder):
        outcomes = runner.run(
            args.recipe, sets=_seeded(args, args.seed)[0], seed=_seeded(args, args.seed)[1],
            runs=Path(folder) / "runs", screen=screen.choose(),
            change=lambda recipe: smoke.small(recipe, Path(folder), catalog),
        )  # fmt: skip
    names = ", ".join(outcome.recipe_name for outcome in outcomes)
    console().print(f"smoke run done: {names}; its numbers mean nothing, nothing was kept", soft_wrap=True)
    return 0
