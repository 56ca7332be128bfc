"""The student's images with noise, and what teacher and fake score make of them: where these differ, it is pushed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import Denoise
from distillkit.disk.rundir import RunDir
from distillkit.evaluate.evaluation import column_names
from distillkit.images import pictures
from distillkit.seeds import inputs
from distillkit.train.state import State
from distillkit.train.teacher import scaled

SIGMAS = 0.25, 1.0, 4.0  # small details, shapes, what is there at all
COLUMNS = 8
POINTS = 300  # in the place of images, at the middle level alone
ZOOM = 4  # of differences, which are small where a run is well


def write(state: State, run: RunDir) -> Path | None:
    """Draw the sheet of this point of the run; None: not wanted, or the method has no fake score to show.

    Nor where ranks share networks: theirs are in pieces, and one rank draws.
    """
    fake_score = critic(state)
    if not state.recipe.run.triptych or fake_score is None or state.teacher is None or state.ranks.shards > 1:
        return None
    names = column_names(state)
    title = f"{run.info['recipe']}   {state.nimg / 1000:g} kimg   teacher and fake score"
    path = run.samples / f"triptych-{state.nimg / 1000:010.3f}.png"
    return pictures.side_by_side(rows(state, fake_score), path, names and names[:COLUMNS], title=title)


def critic(state: State) -> Denoise | None:
    """The method's fake score, as its `setup` has left it."""
    found: Denoise | None = getattr(state.components["generator_loss"], "fake_score", None)
    return found


@torch.no_grad()
def rows(state: State, fake_score: Denoise) -> dict[str, Tensor]:
    """Images [n,C,H,W] by what they are: x, then of each sigma x + sigma n, D_real, D_fake and D_real - D_fake.

    x is of the student itself, which the fake score follows, and not of its average. Seeds are those of the first
    images of any sheet; n is a function of the run's seed, so no number of the run is another for it.
    """
    data = state.dataset
    points = tuple(data.shape) == (2, 1, 1)
    count = POINTS if points else COLUMNS
    z, labels = inputs(list(range(count)), None, data)
    z, labels = z.to(state.device, state.dtype), None if labels is None else labels.to(state.device, state.dtype)
    labels = scaled(state, labels)
    x = state.hook.sample(state=state, z=z, labels=labels)
    n = noise.rows("randn", state.seed, "triptych", 0, count, data.shape, state.device).to(state.dtype)
    found = {"student": shown(state, x)}
    for sigma in SIGMAS[1:2] if points else SIGMAS:
        x_t, level = x + sigma * n, torch.full((count, 1, 1, 1), sigma, device=state.device, dtype=state.dtype)
        D_real = shown(state, state.teacher_score(x_t, level, labels))
        D_fake = shown(state, fake_score(x_t, level, labels))
        found |= {f"+ noise {sigma:g}": shown(state, x_t), f"teacher, {sigma:g}": D_real}
        found[f"fake score, {sigma:g}"] = D_fake
        if not points:
            found[f"{ZOOM} x difference, {sigma:g}"] = ZOOM * (D_real - D_fake)
    return found


def shown(state: State, x: Tensor) -> Tensor:
    """As pixels, on the CPU: latents decoded."""
    return state.dataset.decode(x.float()).cpu()
