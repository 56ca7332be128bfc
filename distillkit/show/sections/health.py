"""What [run.guard] looks at in images: shares and ratios to real ones, and to the teacher's one step."""

from __future__ import annotations

import attrs

from distillkit.guard import WORSE
from distillkit.recipe.schema import Guard
from distillkit.show import svg
from distillkit.show.saved import Saved
from distillkit.show.sections import curves

# Numbers in braces are keys of [run.guard], as this run has them.
MEANS = {
    "finite": "Share of images whose values are all finite: 1.",
    "saturated": "Share of values at their limits, beyond that of real images: towards 0; a sign above {saturated:g}.",
    "shift": "How far the mean is from real images', in their deviations: towards 0; a sign above {shift:g}.",
    "spread": "Deviation of all values beside real ones: towards 1; a sign above {spread:g}.",
    "contrast": "Deviation within an image beside real ones: towards 1; a sign below {contrast:g}.",
    "diversity": "Variance among images, of one class where classes are known, beside real ones: towards 1; a sign "
    "below {diversity:g}, or at half of what it was.",
}
METRIC = "How many times worse than the untouched teacher's one step: far below 1; a sign above {worse:g}."


def charts(run: Saved) -> str:
    """A chart for each number, with what it means and where the guard sees a sign."""
    looks = [
        {**row["health"], "what": "look", "nimg": row["nimg"]}
        for row in run.rows
        if isinstance(row.get("health"), dict)
    ]
    found = {name: points for name, points in curves.by_name(looks, "look").items() if not name.startswith("start/")}
    limits = attrs.asdict(run.watch.guard if run.watch else Guard())

    def meaning(name: str) -> str:
        return (METRIC if name.startswith(WORSE) else MEANS.get(name, "")).format_map(limits)

    return curves.drawn(
        (
            svg.Chart(title=name, points=points, seconds=curves.clock(run.rows, points))
            for name, points in found.items()
            if len(points) > 1
        ),
        meaning,
    )
