"""Writes the curves that come along, distillkit/_students/curves/*.json, from finished runs of shipped recipes.

    python benchmarks/shipped_curves.py runs/0001-digits_teacher runs/0002-digits_sid runs/0003-digits_sid2a_el

The runs are those whose results lie in distillkit/_students; pages of runs of these recipes draw the curves behind.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from distillkit.show.reference import FOLDER, made_of, measured_by
from distillkit.show.saved import Saved
from distillkit.show.sections import curves
from distillkit.show.svg import Point

PARTS = ("training", "metrics")
POINTS = 40  # of a curve, at most
LEFT_OUT = ("lr/", "img_per_sec", "skipped")  # the schedule and the machine


def main(paths: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for path in map(Path, paths):
        run = Saved.of(path)
        file = FOLDER / f"{run.name}.json"
        file.write_text(text(described(run)))
        print(f"{file.name}: {file.stat().st_size} bytes")


def described(run: Saved) -> dict[str, Any]:
    """What made the curves, and each by name: [[kimg, value], ...]."""
    known = {row.name for row in run.scores.rows()}
    measured = {name: points for name, points in curves.by_name(run.rows, "evaluate").items() if name in known}
    return {
        "recipe": run.name,
        "fingerprint": run.info["fingerprint"],
        "made_of": made_of(run.recipe),
        "measured_by": measured_by(run.recipe),
        "training": thinned(curves.by_name(run.rows, "tick")),
        "metrics": thinned(measured),
    }


def thinned(found: dict[str, list[Point]]) -> dict[str, list[list[float]]]:
    """No more points than a small chart shows, of curves that move."""
    return {
        name: [[rounded(x), rounded(y)] for x, y in points[:: -(-len(points) // POINTS)]]
        for name, points in found.items()
        if not name.startswith(LEFT_OUT) and len({y for _, y in points}) > 1
    }


def rounded(value: float) -> float:
    """Four digits: a line is wider than the fifth."""
    return float(f"{value:.4g}")


def text(told: dict[str, Any]) -> str:
    """JSON with a line for each curve."""
    parts = []
    for key, value in told.items():
        lines = [f"  {json.dumps(name)}: {json.dumps(inner)}" for name, inner in value.items()] if key in PARTS else []
        whole = "{\n" + ",\n".join(lines) + "\n }" if lines else json.dumps(value)
        parts.append(f" {json.dumps(key)}: {whole}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main(sys.argv[1:])
