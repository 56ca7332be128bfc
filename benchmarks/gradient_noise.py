"""How noisy the gradients of a method, and of a further loss beside it, are at the student's parameters.

Usage: OMP_NUM_THREADS=1 python benchmarks/gradient_noise.py RUN [RUN ...] [--batches 32] [--json FILE]

RUN: folders of finished runs of a digits recipe, one for each seed; its students and critics are those of the newest
checkpoint, and nothing moves. Of N batches of B images with gradients g, all by the engine's own turn:

    Var = sum |g - mean g|^2 / (N - 1)        noise = Var / (|mean g|^2 - Var / N)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from step_overhead import RECIPES, taught
from torch import Tensor

from distillkit.disk import checkpoint
from distillkit.recipe import read
from distillkit.registry import Catalog
from distillkit.study.claim import student
from distillkit.train import auxiliary, shared, snapshot, turns
from distillkit.train.build import build
from distillkit.train.state import State

WARM = 8  # batches that are not counted: bandwidths and balances are averages
FIXED = "weight=1.0"  # a term by itself, whatever the method's gradient is
CONVNET = 'embeddings=[{use="convnet"}]'
TERMS = {
    "K = 1": f'{{use="embedding", {FIXED}, {CONVNET}}}',
    "K = 4": f'{{use="embedding", {FIXED}, {CONVNET}, copies=4}}',
    "K = 16": f'{{use="embedding", {FIXED}, {CONVNET}, copies=16}}',
    "K = 1, drawn anew": f'{{use="embedding", {FIXED}, {CONVNET}, refresh_every=1}}',
    "K = 4, drawn anew": f'{{use="embedding", {FIXED}, {CONVNET}, copies=4, refresh_every=1}}',
    "K = 16, drawn anew": f'{{use="embedding", {FIXED}, {CONVNET}, copies=16, refresh_every=1}}',
    "EL": f'{{use="embedding", {FIXED}}}',
    "EL, 64 real": f'{{use="embedding", {FIXED}, real_batch=64}}',
    "EL, all real": f'{{use="embedding", {FIXED}, real_batch=1438}}',
    "EL, per class": f'{{use="embedding", {FIXED}, mode="per_class"}}',
    "pixels": f'{{use="embedding", {FIXED}, embeddings=[{{use="pixels"}}]}}',
    "method": "",
    "method and EL": '{use="embedding"}',  # as it trains: its norm at the images is a share of the method's
}
BATCHES = (16, 64, 256)


@frozen
class Moments:
    """Of the gradients of one loss at one batch size: their mean [P], the trace of their variance, how many."""

    mean: Tensor
    variance: float
    n: int

    @property
    def noise(self) -> float:
        """Var / |E g|^2, the latter without bias; nan where the mean drowns in the noise."""
        squared = self.mean.square().sum().item() - self.variance / self.n
        return self.variance / squared if squared > 0 else float("nan")


def state_of(run: Path, term: str, batch: int, catalog: Catalog) -> State:
    """The run's recipe with this term and batch, its networks as the newest checkpoint has them."""
    info = json.loads((run / "run.json").read_text("utf-8"))
    (teacher,) = (Path(found["at"]) for key, found in info["inputs"].items() if key.startswith("teacher_score"))
    found = checkpoint.load_newest(run / "checkpoints", "cpu", info["fingerprint"])
    if found is None:
        raise SystemExit(f"{run}: no checkpoint")
    tensors, meta, _ = found
    sets = (f"auxiliary_loss=[{term}]", f"run.batch={batch}", "run.threads=1", 'run.device="cpu"')
    state = build(taught(read(RECIPES / f"{info['recipe']}.toml", sets, catalog), teacher), catalog)
    for name, network in state.networks.items():
        shared.load(network, snapshot.under(tensors, f"networks/{name}/"))
    state.nimg = meta["nimg"]
    return state


def gradient(state: State, alone: bool) -> Tensor:
    """Of the turn that trains the generator: at its parameters [P]; `alone`: of the further losses, not the method."""
    (turn,) = (turn for turn in state.turns if "generator" in turn.trains)
    with turns.training(state, turn):
        if alone:
            steps = turns.micro_steps(state, turn, recompute=False)
            auxiliary.auxiliary_gradients(state, turn, steps, auxiliary.due(state))
            for step in steps:
                step.backward()
        else:
            turns.gradients(state, turn)
        params = state.updaters["generator"].params
        found = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in params])
    state.made.clear()
    state.nimg, state.iteration = state.nimg + state.batch, state.iteration + 1
    return found.double()


def moments(state: State, alone: bool, n: int) -> Moments:
    """Of n batches, after some that are not counted."""
    for _ in range(WARM):
        gradient(state, alone)
    seen = torch.stack([gradient(state, alone) for _ in range(n)])
    mean = seen.mean(0)
    return Moments(mean, ((seen - mean).square().sum() / (n - 1)).item(), n)


def measured(run: Path, n: int, catalog: Catalog) -> dict[str, dict[str, Any]]:
    """By loss: its noise and variance by batch, and the cosine between its mean and the method's at the largest."""
    rows: dict[str, dict[int, Moments]] = {}
    for name, term in TERMS.items():
        alone = not name.startswith("method")
        rows[name] = {batch: moments(state_of(run, term, batch, catalog), alone, n) for batch in BATCHES}
    method = rows["method"][BATCHES[-1]].mean
    return {
        name: {
            "noise": {batch: of[batch].noise for batch in BATCHES},
            "variance": {batch: of[batch].variance for batch in BATCHES},
            "cosine": torch.cosine_similarity(of[BATCHES[-1]].mean, method, dim=0).item(),
        }
        for name, of in rows.items()
    }


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean over runs, with Student's 95 % interval where there are two or more."""
    found = np.array(values, dtype=float)
    if not np.isfinite(found).all():
        return "drowns"
    if len(found) == 1:
        return f"{found[0]:.{digits}f}"
    half = student(0.95, len(found) - 1) * found.std(ddof=1) / len(found) ** 0.5
    return f"{found.mean():.{digits}f} +- {half:.{digits}f}"


def page(runs: list[dict[str, Any]]) -> str:
    """Two tables in Markdown: of the batch, and of the number of networks."""
    small, middle, large = map(str, BATCHES)
    lines = [f"| gradient of | noise, B = {' | noise, B = '.join(map(str, BATCHES))} "
             f"| Var({small}) / Var({middle}) | Var({middle}) / Var({large}) | cosine with the method's |",
             "| --- |" + " ---: |" * 6]  # fmt: skip
    for name in TERMS:
        of = [run[name] for run in runs]
        noises = (spread([row["noise"][batch] for row in of]) for batch in map(str, BATCHES))
        ratios = (
            spread([row["variance"][one] / row["variance"][other] for row in of])
            for one, other in ((small, middle), (middle, large))
        )
        lines.append(f"| {name} | {' | '.join(noises)} | {' | '.join(ratios)} | {spread([r['cosine'] for r in of])} |")
    lines += ["", f"| Var of fewer / Var of more networks | {' | '.join(f'B = {batch}' for batch in BATCHES)} |",
              "| --- |" + " ---: |" * len(BATCHES)]  # fmt: skip
    for tail in ("", ", drawn anew"):
        for few, many in ((1, 4), (4, 16)):
            pairs = [[run[f"K = {k}{tail}"]["variance"] for k in (few, many)] for run in runs]
            cells = (spread([one[b] / other[b] for one, other in pairs]) for b in map(str, BATCHES))
            lines.append(f"| K = {few} / K = {many}{tail} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="folders of finished runs")
    parser.add_argument("--batches", type=int, default=32, help="of each (%(default)s)")
    parser.add_argument("--json", type=Path, help="rows of runs measured before, and where new ones go")
    given = parser.parse_args()
    torch.set_num_threads(1)
    catalog = Catalog.installed()
    rows = json.loads(given.json.read_text("utf-8")) if given.json and given.json.exists() else {}
    for run in given.runs:
        rows[run.name] = json.loads(json.dumps(measured(run, given.batches, catalog)))
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    print(page(list(rows.values())), end="")


if __name__ == "__main__":
    main()
