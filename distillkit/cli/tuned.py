"""`distillkit plan --tune`: which levers win on this machine, and the lines of a recipe that pull them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from distillkit.api import UsageError
from distillkit.recipe.layer import Layer, overlay
from distillkit.recipe.write import toml

if TYPE_CHECKING:
    from distillkit.plan.stages import Stage
    from distillkit.plan.tune import Tried
    from distillkit.registry import Catalog
    from distillkit.train.levers import Lever


def tuned(stage: Stage, catalog: Catalog, out: Console) -> None:
    """Try the levers of a recipe and print what they make of it. Raises UsageError for a recipe that cannot be run."""
    from distillkit.plan.speed import trained_with
    from distillkit.plan.tune import best, tried

    if missing := trained_with(stage):
        raise UsageError(f"--tune runs a few iterations of {stage.recipe.name}, and {missing[0]} is missing")
    found = []
    out.print(Text(f"\nlevers of {stage.recipe.name}, each beside the recipe as it is:"))
    for each in tried(stage, catalog):  # a line as soon as it is known: a compiler takes its time
        found.append(each)
        out.print(Padding(line(each), (0, 0, 0, 2)))
    won = best(found)
    if won is None:
        out.print(Text("none is faster here: the recipe stays as it is", "bold"))
        return
    out.print(Text(f"fastest here, {percent(won)}; these lines of the recipe say so:", "bold"))
    out.print(Text(toml(written(won.levers)).strip()), soft_wrap=True)
    for lever in won.levers:
        out.print(Text(f"{lever.key} changes, of the numbers: {lever.numbers}", "dim"), soft_wrap=True)


def line(each: Tried) -> Table:
    """One row of what a lever made of the time and of the memory."""
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=28, overflow="fold")
    row.add_column(overflow="fold")
    name = " + ".join(lever.key.removeprefix("run.") for lever in each.levers)
    row.add_row(name, f"refused: {each.refused}" if each.time is None else told(each))
    return row


def told(each: Tried) -> str:
    assert each.time is not None, "it was not refused"
    time, memory = each.time, each.memory
    taken = "" if memory is None or abs(memory - 1) < 0.005 else f", memory {memory:.2f} x"
    return f"time {time.median:.2f} x ({time.low:.2f} to {time.high:.2f}, {time.pairs} pairs){taken}"


def percent(each: Tried) -> str:
    assert each.time is not None, "it has won"
    return f"{100 * (1 - each.time.median):.0f} % less time"


def written(levers: Sequence[Lever]) -> dict[str, Any]:
    """The keys of the levers as tables of a recipe."""
    low = Layer({})
    for lever in levers:
        *path, name = lever.key.split(".")
        table: dict[str, Any] = {name: lever.on}
        for part in reversed(path):
            table = {part: table}
        low = overlay(low, Layer(table))
    return low.data
