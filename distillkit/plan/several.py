"""What a recipe takes on several processes: rows, memory of each, bytes on the wire."""

from __future__ import annotations

from collections.abc import Iterator

from distillkit.plan.fit import size
from distillkit.plan.stages import Stage
from distillkit.recipe.schema import Recipe
from distillkit.train.ranks.alone import passes


def most_rows(recipe: Recipe, n: int) -> int:
    """Images of the batch that the process with most of them holds, of `n`."""
    return max(sum(rows for _, rows in share) for share in shares(recipe, n))


def most_at_once(recipe: Recipe, n: int) -> int:
    """Images of the largest pass of `n` processes."""
    return max(rows for share in shares(recipe, n) for _, rows in share)


def shares(recipe: Recipe, n: int) -> list[list[tuple[int, int]]]:
    """(first, images) of the passes of each of `n` processes."""
    run = recipe.run
    return [passes(run.batch, run.micro_batch, rank, n, recipe.group) for rank in range(n)]


def several(stage: Stage, n: int) -> Iterator[str]:
    """Lines on `n` processes; the networks are whole in each."""
    run = stage.recipe.run
    rows = [sum(rows for _, rows in share) for share in shares(stage.recipe, n)]
    largest = most_at_once(stage.recipe, n)
    if min(rows) == 0:
        unit = f"run.micro_batch = {run.micro_batch} makes" if run.micro_batch else f"run.batch = {run.batch} gives"
        yield f"{unit} work for {run.batch // (run.micro_batch or stage.recipe.group)} processes at most, not {n}"
        return
    held = f"{min(rows)} to {max(rows)}" if min(rows) < max(rows) else str(max(rows))
    yield f"each holds {held} of {run.batch} images, {largest} a pass, in at most {size(stage.peak(largest), 'B')}"
    if min(rows) < max(rows):
        yield f"the most has {max(rows)} images, so {1 - run.batch / n / max(rows):.0%} of all time is waited"
    wire = ", ".join(f"{turn.name} {size(turn.gradients, 'B')}" for turn in stage.counted.turns)
    yield f"over the wire go, once a turn, the gradients: {wire}; and what auxiliary terms bring together"
