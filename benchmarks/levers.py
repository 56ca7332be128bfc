"""What each lever of docs/speed.md makes of an iteration: alternating pairs, CPU and wall time.

    OMP_NUM_THREADS=1 python benchmarks/levers.py [--pairs 15] [--only run.compile]        prints a table in Markdown

SiD on a teacher of random weights: of digits (8 px, 16 channels, batch 64), and of 32 px (32 and 64 channels, batch 8).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch
from step_overhead import RECIPES, taught, teacher

from distillkit.api.explained import explained
from distillkit.assets.folder import cache
from distillkit.plan.pairs import Ratio, alternating, ratio
from distillkit.plan.tune import pulled, some
from distillkit.recipe import read
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.testing import toys
from distillkit.train import compiled
from distillkit.train.build import build
from distillkit.train.levers import LEVERS, Lever

WARM, COUNTED = 3, {"digits, 8 px": 4, "32 px": 1}  # iterations, the latter of each side of a pair
NET = {"use": "edm-ddpmpp", "model_channels": 32, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [16]}
TOGETHER = "run.channels_last", "run.compile"


def recipes(folder: Path, catalog: Catalog) -> dict[str, tuple[Recipe, Catalog]]:
    """Recipes by their titles, with the catalogs that know their parts."""
    teacher(folder, catalog)
    digits = read(RECIPES / "digits_sid.toml", ['run.device="cpu"', "run.threads=1"], catalog)
    larger = toys.toy_recipe(
        run={"batch": 8, "threads": 1}, dataset={"resolution": 32, "channels": 3, "label_dim": 0},
        teacher_score={"network": NET}, generator_loss={"use": "sid", "noise": "lognormal", "shared_forward": True},
    )  # fmt: skip
    return {
        "digits, 8 px": (attrs.evolve(taught(digits, folder), evaluate=()), catalog),
        "32 px": (larger, toys.catalog()),
    }


def running(recipe: Recipe, catalog: Catalog, n: int, wall: list[float]) -> Callable[[], None]:
    """What takes n iterations, warm, and notes how long that took on the wall."""
    state = build(recipe, catalog)
    some(state, WARM)

    def side() -> None:
        start = time.perf_counter()
        some(state, n)
        wall.append(time.perf_counter() - start)

    return side


def compared(recipe: Recipe, catalog: Catalog, levers: list[Lever], n: int, pairs: int) -> tuple[Ratio, Ratio]:
    """CPU and wall time with the levers over those without."""
    walls: tuple[list[float], list[float]] = ([], [])
    sides = [running(one, catalog, n, wall) for one, wall in zip((pulled(recipe, levers), recipe), walls, strict=True)]
    cpu = alternating(*sides, pairs, clock=time.process_time)
    return ratio(cpu), ratio(list(zip(*walls, strict=True)))


def told(found: Ratio) -> str:
    return f"{found.median:.3f} ({found.low:.3f} to {found.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15, help="of each row (%(default)s)")
    parser.add_argument(
        "--only", action="append", help="a key, again for another one; default: all, and " + " with ".join(TOGETHER)
    )
    parser.add_argument("--recipe", choices=[*COUNTED], help="one of the two; default: both")
    args = parser.parse_args()
    torch.set_num_threads(1)
    compiled.keep(cache())
    rows: list[list[Lever]] = [[lever] for lever in LEVERS if not args.only or lever.key in args.only]
    if not args.only:
        rows.append([lever for lever in LEVERS if lever.key in TOGETHER])
    print("| | levers | CPU time, ratio of medians | wall time | whole row, s |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        known = recipes(Path(made), Catalog.installed())
        for title, (recipe, catalog) in known.items() if not args.recipe else [(args.recipe, known[args.recipe])]:
            for levers in rows:
                names = ", ".join(f"`{lever.key}`" for lever in levers)
                print(
                    "|",
                    " | ".join([title, names, *cells(recipe, catalog, levers, COUNTED[title], args.pairs)]),
                    "|",
                    flush=True,
                )


def cells(*given: Any) -> list[str]:
    start = time.perf_counter()
    try:
        found = compared(*given)
    except Exception as error:
        if (known := explained(error)) is None:
            raise
        return [f"refused: {known}", "", ""]
    return [*map(told, found), f"{time.perf_counter() - start:.0f}"]


if __name__ == "__main__":
    main()
