"""Reads the study of all methods on digits into benchmarks/results/methods.json, and writes the page of it.

    distillkit study benchmarks/methods.toml --jobs 2 --runs runs
    OMP_NUM_THREADS=1 python benchmarks/methods.py runs             to be called where the study was

The page is of the cells and seeds of that study; what did not finish is named. What the file already says of a run
with the same fingerprint stays, so a study may grow over several days and machines. Of a recipe that is new here it
measures the cost: passes, memory, and images per second of CPU time on one thread.
"""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import attrs
import methods_page
import torch
from step_overhead import taught, teacher

from distillkit.disk.metrics import MetricsLog
from distillkit.python.calls import evaluate, plan
from distillkit.recipe import read
from distillkit.registry import Catalog
from distillkit.study.work import DONE
from distillkit.testing.training import iterations, run
from distillkit.train.build import build

HERE = Path(__file__).parent
WARM, COUNTED = 5, 30  # iterations of a measurement of speed; 30 are whole rounds of all turns
MORE_STEPS = {2: (0.8,), 4: (2.0, 0.8, 0.3)}  # noise levels after the first, for students that can take several
CAN = ("few-step", "flow-map")  # their samplers

Row = dict[str, Any]


def main(folder: str = "runs") -> None:
    torch.set_num_threads(1)
    study = tomllib.loads((HERE / "methods.toml").read_text())
    runs, path = Path(folder), HERE / "results" / "methods.json"
    found = json.loads((runs / f"study-{study['name']}" / "study.json").read_text())
    kept = {row["label"]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    rows = [read_cell(cell, runs, kept.get(cell["label"])) for cell in found["cells"]]
    path.write_text('{"rows": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]}\n")  # a cell is a line
    (HERE / "results" / "methods.md").write_text(methods_page.page(rows))


def read_cell(cell: dict[str, Any], runs: Path, kept: Row | None) -> Row:
    """What the finished runs of a cell measured, by their seeds, what became of others, and what its recipe costs."""
    recipe = (HERE / cell["recipe"]).resolve()
    old = kept["seeds"] if kept else {}
    seeds: dict[str, Row] = {}
    missing: dict[str, str] = {}
    for one in cell["runs"]:
        seed = str(one["seed"])
        if seed in old and old[seed]["fingerprint"] == one["fingerprint"]:
            seeds[seed] = old[seed]
        elif one["state"] not in DONE or "run" not in one:
            missing[seed] = one["state"]
        else:
            seeds[seed] = finished(one, runs)
            print(cell["label"], seed, "read", flush=True)
    known = kept["cost"] if kept and seeds.items() >= old.items() and kept["cost"].get("images/s", 1) else {}
    cost = known or (costs(recipe, runs) if seeds else {})
    return {"label": cell["label"], "seeds": seeds, "missing": missing, "cost": cost}


def finished(one: Row, runs: Path) -> Row:
    """Evaluations on the way, of what the run keeps in the end, by several steps too, and of its teacher."""
    path = runs / one["run"]
    rows = MetricsLog(path / "metrics.jsonl").read()
    return {
        "fingerprint": one["fingerprint"],
        "way": [{"kimg": row["nimg"] / 1000, **short(row)} for row in rows if row["what"] == "evaluate"],
        "end": {"kimg": one["nimg"] / 1000, **short(one["metrics"])},
        "steps": several(path),
        "teacher": short(one.get("teacher") or {}),
    }


def several(path: Path) -> dict[str, Row]:
    """By the number of steps, where that can be more than one without training again."""
    recipe = read(path / "resolved.toml")
    sample, trained_from = recipe.sample, getattr(recipe.generator_loss.config, "t_prime", 0.0)
    levels = getattr(sample.config, "sigmas", ()) or (getattr(sample.config, "sigma_max", 0.0),)
    if sample.name not in CAN or len(levels) > 1:
        return {}
    given = {"use": sample.name, **attrs.asdict(sample.config)}
    return {
        str(n): short(evaluate(path, sampler={**given, "sigmas": [levels[0], *more]}, quiet=True))
        for n, more in MORE_STEPS.items()
        if more[-1] >= trained_from
    }


def short(scores: dict[str, Any]) -> Row:
    return {name: scores[f"frechet/{name}"] for name in methods_page.SHOWN if f"frechet/{name}" in scores}


def costs(path: Path, runs: Path) -> Row:
    """Of an iteration: passes of the student for each image, the peak of memory in MB, images per second; lines."""
    stage = plan(str(path), runs=runs)[-1]
    recipe, cost = read(path), stage.counted
    file = Path(inspect.getfile(recipe.generator_loss.cls))
    return {
        "F": cost.flops / cost.batch / stage.forward, "MB": cost.largest.peak / 1e6,
        "images/s": speed(path), "lines": len(file.read_text().splitlines()),
    }  # fmt: skip


def speed(path: Path) -> float:
    """Images per second of CPU time, one thread, a teacher of random weights."""
    with tempfile.TemporaryDirectory() as made:
        catalog = Catalog.installed()
        teacher(Path(made), catalog)
        recipe = taught(read(path, ["run.threads=1"], catalog), Path(made))
        state = build(attrs.evolve(recipe, evaluate=()), catalog)
        run(state, max(WARM, iterations(state)))
        start = time.process_time()
        run(state, COUNTED)
        return COUNTED * state.batch / (time.process_time() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
