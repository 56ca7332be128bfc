"""One turn: gradients of its losses, then the update, or none if a number is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from distillkit.api import Diverged, PluginError, Turn
from distillkit.engine.auxiliary import auxiliary_gradients, due
from distillkit.engine.state import State
from distillkit.engine.step import Step


def take(state: State, turn: Turn) -> None:
    """Compute the gradients of `turn` over the global batch and update the networks it trains."""
    with training(state, turn):
        active = due(state) if "generator_loss" in turn.losses else []
        steps = micro_steps(state, turn, again=bool(active))
        losses = {hook: torch.zeros((), device=state.device, dtype=torch.float64) for hook in turn.losses}
        for step in steps:
            if "critic_loss" in turn.losses:
                losses["critic_loss"] += critic_gradients(state, turn, step)
            if "generator_loss" in turn.losses:
                losses["generator_loss"] += host_gradients(state, turn, step)
                if not active:
                    step.backward()
        if active:
            auxiliary_gradients(state, turn, steps, active)
            for step in steps:
                step.backward()
        update(state, turn, losses)


def micro_steps(state: State, turn: Turn, again: bool) -> list[Step]:
    """The rows of the global batch, one step per forward pass.

    Auxiliary terms need the x of all micro-batches: x is made without a graph first, and again for the backward pass
    (GradCache, arXiv:2101.06983): one more forward pass, the same numbers.
    """
    size = state.recipe.run.micro_batch or state.batch
    trains, again = "generator" in turn.trains, again and size < state.batch
    return [
        Step(state, turn.name, first, size, state.batch, trains, again, turn.images_of)
        for first in range(0, state.batch, size)
    ]


def critic_gradients(state: State, turn: Turn, step: Step) -> Tensor:
    """Add the gradients of mean critic_loss to the critics' parameters -> this step's share of the loss [].

    Where the generator trains in the same turn, the graph is kept for its loss.
    """
    state.seed_masks(turn.name, step.first, "critic_loss")
    loss = per_image(state.hook.critic_loss(state=state, step=step), "critic_loss", step).sum() / step.batch
    critics = [p for name in turn.trains if name != "generator" for p in state.updaters[name].params]
    loss.backward(inputs=critics, retain_graph="generator_loss" in turn.losses)
    return loss.detach().double()


def host_gradients(state: State, turn: Turn, step: Step) -> Tensor:
    """Add the gradients of mean generator_loss at x, and at parameters it reaches directly -> share of the loss []."""
    state.seed_masks(turn.name, step.first, "generator_loss")
    teacher_score = partial(denoise, state)
    loss = state.hook.generator_loss(state=state, step=step, teacher_score=teacher_score)
    loss = per_image(loss, "generator_loss", step).sum() / step.batch
    x = [step.x] if "x" in step.__dict__ else []
    loss.backward(inputs=x + state.updaters["generator"].params)
    return loss.detach().double()


def denoise(state: State, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
    """D_real [N,C,H,W] of the teacher, through any wrappers of its hook."""
    return state.hook.teacher_score(state=state, x=x, sigma=sigma, labels=labels)


def per_image(loss: Tensor, hook: str, step: Step) -> Tensor:
    if loss.shape != (step.n,):
        raise PluginError(f"{hook} returned {list(loss.shape)}, expected [{step.n}]: one loss per image")
    return loss


@contextmanager
def training(state: State, turn: Turn) -> Iterator[None]:
    """Inside, the networks of the turn train; outside, all are in evaluation mode and get no weight gradients."""
    for name in turn.trains:
        state.networks[name].train()
        for p in state.updaters[name].params:
            p.requires_grad_(True)
    try:
        yield
    finally:
        for name in turn.trains:
            state.networks[name].eval()
            for p in state.updaters[name].params:
                p.requires_grad_(False)
                p.grad = None


def update(state: State, turn: Turn, losses: dict[str, Tensor]) -> None:
    """Step the optimizers of the turn, unless a loss or a gradient is not finite: then nothing changes."""
    norms = {name: state.updaters[name].norm() for name in turn.trains}
    finite = bool(torch.isfinite(torch.stack([*losses.values(), *(n.double() for n in norms.values())])).all())
    if not finite:
        return refuse(state, turn, sum(losses.values()), norms)
    state.nonfinite.pop(turn.name, None)
    for hook, loss in losses.items():
        state.record(f"loss/{turn.name if len(losses) == 1 else hook.removesuffix('_loss')}", loss)
    for name, norm in norms.items():
        state.record(f"grad_norm/{name}", norm)
        state.updaters[name].step(state.nimg, state.total)


def refuse(state: State, turn: Turn, loss: Tensor, norms: dict[str, Tensor]) -> None:
    in_a_row = state.nonfinite[turn.name] = state.nonfinite.get(turn.name, 0) + 1
    state.skipped += 1
    if in_a_row > state.recipe.run.max_nonfinite:
        values = ", ".join(f"gradient norm of {name} = {float(norm):g}" for name, norm in norms.items())
        raise Diverged(
            f"turn {turn.name!r} was not finite {in_a_row} times in a row, at {state.nimg / 1000:g} kimg: "
            f"loss = {float(loss):g}, {values}"
        )
