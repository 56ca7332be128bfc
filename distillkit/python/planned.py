"""What a recipe takes, as an object: its stages, rows of them, and whether it fits."""

from __future__ import annotations

from collections.abc import Iterable

from distillkit.plan import fit
from distillkit.plan.stages import Stage
from distillkit.show import notebook

UNKNOWN = "?"


class Plan(list[Stage]):
    """The stages of a chain, the asked one last; each has `flops`, `peak(micro_batch)` in bytes and `finished`."""

    @property
    def rows(self) -> list[dict[str, str]]:
        """One per recipe, as people read it; `pandas.DataFrame` takes them."""
        return [dict(_row(stage)) for stage in self]

    def verdict(self, memory: float | None = None) -> str:
        """Say in a line whether all fits into `memory` GB: of the device of the recipe, unless it is said."""
        return fit.verdict(list(self), fit.device(memory, self[-1].recipe.run.device))

    def __repr__(self) -> str:
        lines = [list(self.rows[0]), *(list(row.values()) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        return notebook.table(list(self.rows[0]), [[(text, "span") for text in row.values()] for row in self.rows])


def _row(stage: Stage) -> Iterable[tuple[str, str]]:
    cost = stage.cost
    yield "recipe", stage.recipe.name
    yield "to do", "reuse" if stage.finished else f"{stage.recipe.run.kimg:g} kimg"
    yield "memory", fit.size(cost.largest.peak, "B") if cost else UNKNOWN
    yield "per image", fit.size(cost.flops / cost.batch, "FLOP") if cost else UNKNOWN
    yield "in all", fit.size(stage.flops, "FLOP") if cost else UNKNOWN
    yield "missing", "; ".join(filter(None, (*stage.missing, stage.unknown))) or "-"
