"""`distillkit plan`: what a recipe and those it builds on take, and whether that fits; nothing is run or downloaded."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from distillkit.api import ResourceError, UsageError
from distillkit.cli import arguments
from distillkit.cli.console import console
from distillkit.cli.tuned import tuned
from distillkit.plan import fit
from distillkit.registry import Catalog
from distillkit.show import formats

if TYPE_CHECKING:
    from distillkit.plan.speed import Speed
    from distillkit.plan.stages import Stage

UNKNOWN = "?"


def add(parser: ArgumentParser) -> None:
    arguments.recipe(parser)
    parser.add_argument("--memory", "--device-memory", type=arguments.positive, metavar="GB",
                         help="of the device (default: of the GPU, else what is available here)")  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="end with 5 where it does not fit, or nobody can tell")
    parser.add_argument("--measure", action="store_true", help="time a few iterations where no run tells the speed")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="try the levers of docs/speed.md here, in pairs: a minute or two, without compilation",
    )
    parser.add_argument("--nproc", type=arguments.whole(1, 10_000), metavar="N",
                         help="say what so many processes would do")  # fmt: skip
    parser.add_argument("--gpu", type=gpu, metavar="NAME",
                         help="assume one, by counted work and its data sheet: h100, rtx4090; or here")  # fmt: skip
    parser.add_argument("--share", type=arguments.positive, metavar="X",
                         help="of the peak of --gpu that training reaches (0.35)")  # fmt: skip
    parser.add_argument("--price", "--price-per-hour", type=arguments.positive, metavar="X",
                         help="of one device for an hour, for the cost column")  # fmt: skip


def main(args: Namespace) -> int:
    """Count everything and tell -> exit code; what is missing is told, and no error."""
    from distillkit.plan.several import most_at_once, several  # torch comes with them: only when there is work
    from distillkit.plan.stages import stages

    if args.share and not args.gpu:
        raise UsageError("--share is of the peak of a GPU: name one, --gpu h100")
    if (args.share or 0) > 1:
        raise UsageError(f"--share {args.share:g}: at most 1, which is all of the peak")
    catalog, out = Catalog.installed(), console()
    found = stages(args.recipe, args.sets, args.runs, catalog)
    speeds = [speed_of(stage, args, catalog) for stage in found]
    memory = memory_of(args, found[-1].recipe.run.device)
    price = args.price and args.price * (args.nproc or 1 if args.gpu else 1)
    out.print(Padding(chain(found, speeds, price), (1, 0, 1, 0)))
    if found[-1].cost is not None:
        show(found[-1], out)
        for line in several(found[-1], args.nproc) if args.nproc else ():
            out.print(Text.assemble((f"on {args.nproc} processes: ", "dim"), line), soft_wrap=True)
    notes(found, speeds, args.gpu, out)
    share = f"{fit.size(memory.usable, 'B')} of {fit.size(memory.memory, 'B')}, {memory.source}"
    out.print(
        Text.assemble(("memory: ", "dim"), f"{share}; the rest is left to the device's own needs"), soft_wrap=True
    )
    at_once = None if args.nproc is None else (lambda recipe: most_at_once(recipe, args.nproc))
    verdict = fit.verdict(found, memory, at_once)
    out.print(Text(verdict, "bold"), soft_wrap=True)
    if args.tune:
        tuned(found[-1], catalog, out)
    return ResourceError.exit_code if args.strict and verdict.startswith(fit.NOT) else 0


def gpu(text: str) -> str:
    from distillkit.plan.gpus import GPUS, HERE

    if text.lower() not in (*GPUS, HERE):
        raise ArgumentTypeError(f"{', '.join(GPUS)} or {HERE}, not {text[:80]!r}")
    return text.lower()


def memory_of(args: Namespace, device: str) -> fit.Device:
    """What is to be fitted into: as asked, of the GPU that was asked for, or what is here."""
    from distillkit.plan import gpus

    if args.gpu in (None, gpus.HERE) or args.memory is not None:
        return fit.device(args.memory, device)
    return gpus.device(args.gpu)


def speed_of(stage: Stage, args: Namespace, catalog: Catalog) -> Speed | None:
    """Assume the speed of --gpu; else take it from a run; else measure it, if --measure, and what it needs is here.

    None: unknown.
    """
    from distillkit.plan.gpus import SHARE, assumed
    from distillkit.plan.speed import logged, measured, trained_with

    known = logged(stage.run)
    if args.gpu:
        return assumed(stage, args.gpu, args.share or SHARE, args.nproc or 1, known.done if known else 0)
    if known is None and args.measure and stage.cost is not None and not trained_with(stage):
        return measured(stage, catalog)
    return known


def chain(found: Sequence[Stage], speeds: Sequence[Speed | None], price: float | None) -> Table:
    """Draw the table of recipes, one row each, parents first; `price` is of an hour."""
    table = _table("recipe", "to do", "memory", "per image", "in all", "img/s", "time left", *["cost"] * bool(price))
    for stage, speed in zip(found, speeds, strict=True):
        table.add_row(stage.recipe.name, *_row(stage, speed), *([_cost(stage, speed, price)] if price else []))
    return table


def _row(stage: Stage, speed: Speed | None) -> Iterator[str]:
    yield "reuse" if stage.finished else f"{stage.recipe.run.kimg:g} kimg"
    yield fit.size(stage.cost.largest.peak, "B") if stage.cost else UNKNOWN
    yield fit.size(stage.cost.flops / stage.cost.batch, "FLOP") if stage.cost else UNKNOWN
    yield fit.size(stage.flops, "FLOP") if stage.cost else UNKNOWN
    yield formats.rate(speed.img_per_sec) if speed else UNKNOWN
    yield formats.duration(speed.seconds_left(stage.recipe)) if speed else UNKNOWN


def _cost(stage: Stage, speed: Speed | None, price: float) -> str:
    return f"{price * speed.seconds_left(stage.recipe) / 3600:.2f}" if speed else UNKNOWN


def show(stage: Stage, out: Console) -> None:
    """Print who holds how much memory in a stage, and what each turn of an iteration takes."""
    roles = _table(f"in {stage.recipe.name}", "parameters", "weights", "gradients", "optimizer", "sum")
    for role in stage.roles:
        parts = role.weights, role.gradients, role.optimizer
        count = f"{role.parameters:,}" if role.parameters else "-"
        roles.add_row(
            role.name, count, *(fit.size(part, "B") if part else "-" for part in parts), fit.size(sum(parts), "B")
        )
    out.print(Padding(roles, (0, 0, 1, 0)))
    run, cost = stage.recipe.run, stage.counted
    turns = _table("turn", "every", "per image", "kept", "gradients", "activations*", "at most")
    kept = sum(role.weights + role.optimizer for role in stage.roles)
    for turn in cost.turns:
        bytes_held = kept, turn.gradients, max(turn.peak - kept - turn.gradients, 0), turn.peak
        turns.add_row(
            turn.name,
            f"{turn.every}{', at first' * turn.over}",
            fit.size(turn.flops / cost.batch, "FLOP"),
            *(fit.size(part, "B") for part in bytes_held),
        )
    out.print(turns)
    passes = cost.flops / cost.batch / stage.forward if stage.forward else 0
    for line in (
        f"* and working memory, of {cost.micro_batch} images at a time of {run.batch}, {run.precision}: an estimate, "
        "from the recipe's own steps on tensors without content",
        f"an image costs {passes:.1f} forward passes of the generator, {fit.size(stage.forward, 'FLOP')} each",
    ):
        out.print(Text(line, "dim"), soft_wrap=True)


def notes(found: Sequence[Stage], speeds: Sequence[Speed | None], gpu: str | None, out: Console) -> None:
    """Print where the speeds are from, what is missing, and what could not be counted."""
    lines = []
    for stage, speed in zip(found, speeds, strict=True):
        if speed is None and gpu:
            source = f"unknown: no work was counted, or no peak in {stage.recipe.run.precision} is known of {gpu}"
        elif speed is None:
            source = (
                "no run of it in --runs; --measure times a few iterations where data and networks are here, and "
                "--gpu h100 assumes a GPU"
            )
        else:
            source = speed.source
        lines.append(("img/s of " + stage.recipe.name, source))
        lines += [("missing", name) for name in stage.missing]
        lines += [(stage.recipe.name, text) for text in stage.remarks]
        if not stage.finished:
            lines.append((f"a kill of {stage.recipe.name} loses", lost(stage, speed)))
        if stage.unknown:
            lines.append((stage.recipe.name, stage.unknown))
    for name, text in dict.fromkeys(lines):
        out.print(Text.assemble((f"{name}: ", "dim"), text), soft_wrap=True)


def lost(stage: Stage, speed: Speed | None) -> str:
    """What was trained since the last checkpoint, at most: by the count of images or by the clock."""
    minutes, kimg = stage.recipe.run.checkpoint_minutes, stage.kept_kimg
    if speed is None:
        return f"at most {minutes:g} min of training or {kimg:g} kimg, whichever is less"
    by_images = kimg * 1000 / speed.img_per_sec
    if by_images <= 60 * minutes:
        return f"at most {kimg:g} kimg, {formats.duration(by_images)} of training"
    return f"at most {minutes:g} min of training, {speed.img_per_sec * 60 * minutes / 1000:.3g} kimg"


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold")
    for name in columns:
        table.add_column(name, justify="left" if name == "to do" else "right", no_wrap=True)
    return table
