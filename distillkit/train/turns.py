"""One turn: gradients of its losses, then the update, or none if a number is not finite.

The device decides that by itself: the CPU learns of it in `check`, which is called where the run pauses anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from distillkit.api import Diverged, PluginError, Turn
from distillkit.train.auxiliary import auxiliary_gradients, due
from distillkit.train.masked import seed_masks
from distillkit.train.ranks import pieces
from distillkit.train.state import State
from distillkit.train.step import Step, counts_as


def take(state: State, turn: Turn) -> Tensor:
    """Compute the gradients of `turn` over the global batch and update the networks it trains.

    -> skipped, bool []: a number was not finite, and so nothing changed. Nothing here waits for the device.
    """
    with training(state, turn):
        return update(state, turn, gradients(state, turn))


def gradients(state: State, turn: Turn) -> dict[str, Tensor]:
    """Add the gradients of `turn` over the global batch to the parameters it trains -> its losses [] by hook."""
    active = due(state) if "generator_loss" in turn.losses else []
    steps = micro_steps(state, turn, recompute=bool(active))
    # float64: shares of many micro-batches add up to what one batch would have reported.
    losses = {hook: torch.zeros((), device=state.device, dtype=torch.float64) for hook in turn.losses}
    for step in steps:
        # The critics first: their backward pass leaves the graph that the generator's loss still needs.
        if "critic_loss" in turn.losses:
            losses["critic_loss"] += critic_gradients(state, turn, step)
        if "generator_loss" in turn.losses:
            losses["generator_loss"] += method_gradients(state, turn, step)
            if not active:
                step.backward()
    if active:
        auxiliary_gradients(state, turn, steps, active)
        for step in steps:
            step.backward()
    return losses


def micro_steps(state: State, turn: Turn, recompute: bool) -> list[Step]:
    """The rows of this rank, one step per forward pass.

    Auxiliary terms need the x of all micro-batches: x is made without a graph first, and again for the backward pass
    (GradCache, arXiv:2101.06983): one more forward pass, the same numbers.
    """
    passes = state.ranks.passes(state.batch, state.recipe.run.micro_batch, state.group)
    # What is one pass fits with its graph: nothing to make twice.
    trains, recompute = "generator" in turn.trains, recompute and len(passes) > 1
    return [
        Step(state, turn.name, first, n, state.batch, trains, recompute, turn.same_images_as) for first, n in passes
    ]


def critic_gradients(state: State, turn: Turn, step: Step) -> Tensor:
    """Add the gradients of mean critic_loss to the critics' parameters -> this step's share of the loss [].

    Where the generator trains in the same turn, the graph is kept for its loss.
    """
    # Seeded per hook, and by the row: a part that draws more or less cannot shift the masks of the next one.
    with asking(state, turn, step, "critic_loss"):
        losses = per_image(critic_loss(state, turn, step), "critic_loss", step)
    # sum / batch, not mean(): gradients of micro-batches add up to that of the mean over the global batch.
    loss = losses.sum() / step.batch
    critics = [p for name in turn.trains if name != "generator" for p in state.updaters[name].params]
    # To the critics alone: a critic's loss must not push the generator, which may share the graph in this turn.
    with only(state, turn, critics, step) as ends:
        loss.backward(inputs=ends, retain_graph="generator_loss" in turn.losses)
    return loss.detach().double()


@contextmanager
def asking(state: State, turn: Turn, step: Step, hook: str) -> Iterator[None]:
    """Inside, masks are those of the rows of `step`, and what is recorded counts as so many images."""
    with seed_masks(state, step.first, step.n, turn.name, hook), state.records.weighing(counts_as(step)):
        yield


def critic_loss(state: State, turn: Turn, step: Step) -> Tensor:
    """The critics' loss [N] in this turn: the turn's own, or the method's."""
    loss: Tensor = state.hook.critic_loss(state=state, step=step) if turn.asks is None else turn.asks(state, step)
    return loss


def method_gradients(state: State, turn: Turn, step: Step) -> Tensor:
    """Add the gradients of mean generator_loss at x, and at parameters it reaches directly -> share of the loss [].

    To all networks of a turn without critic_loss, which may train weights of the loss itself; else to the generator's.
    """
    with asking(state, turn, step, "generator_loss"):
        loss = state.hook.generator_loss(state=state, step=step, teacher_score=state.teacher_score)
    loss = per_image(loss, "generator_loss", step).sum() / step.batch
    trained = ("generator",) if "critic_loss" in turn.losses else turn.trains
    params = [p for name in trained for p in state.updaters[name].params]
    # A loss of real images alone (consistency models) never made x: to ask for it now would cost a pass.
    with only(state, turn, params, step, x=step.x_was_used) as ends:
        loss.backward(inputs=ends)
    return loss.detach().double()


@contextmanager
def only(
    state: State, turn: Turn, params: Sequence[Tensor], step: Step, x: bool = False
) -> Iterator[list[Tensor] | None]:
    """Inside, `backward` adds gradients to `params`, and to the step's images where `x`, and to no others.

    -> the `inputs` to give it; None for networks in pieces: within a pass their weights are other tensors, and so what
    is not asked for is computed and left out.
    """
    if state.ranks.shards == 1:
        yield [*params, *([step.x] if x else [])]
        return
    asked = set(map(id, params))
    others: list[Tensor] = [p for name in turn.trains for p in state.updaters[name].params if id(p) not in asked]
    if not x and step.x_was_used:
        others.append(step.x)
    with aside(others):
        yield None


@contextmanager
def aside(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Inside, these have no gradients; what they get is lost, and what they had is put back.

    Put aside, not kept in place: FSDP adds to the gradients that there are.
    """
    before = [t.grad for t in tensors]
    for t in tensors:
        t.grad = None
    try:
        yield
    finally:
        for t, grad in zip(tensors, before, strict=True):
            t.grad = grad


def per_image(loss: Tensor, hook: str, step: Step) -> Tensor:
    if not isinstance(loss, Tensor) or loss.shape != (step.n,):
        found = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise PluginError(f"{hook} returned {found}, expected [{step.n}]: one loss per image")
    return loss


@contextmanager
def training(state: State, turn: Turn) -> Iterator[None]:
    """Inside, the networks of the turn train; outside, all are in evaluation mode and get no weight gradients."""
    state.ranks.give_back()  # whether a weight trains is seen when it is borrowed
    # All others stay frozen: gradients still pass through them to x, but none of their weights [P] is computed, nor
    # kept; and in evaluation mode, for with dropout a loss would ask another critic at every call.
    for name in turn.trains:
        state.networks[name].train()
        for module in state.once_per_turn[name]:
            module.begin_turn()
        for p in state.updaters[name].params:
            p.requires_grad_(True)
    try:
        yield
    finally:
        state.ranks.give_back()
        for name in turn.trains:
            state.networks[name].eval()
            for p in state.updaters[name].params:
                p.requires_grad_(False)
                # Not zeros: Adam would move by its momentum, and the memory would stay taken between turns.
                p.grad = None


def update(state: State, turn: Turn, losses: dict[str, Tensor]) -> Tensor:
    """Step the optimizers of the turn -> skipped, bool []: a loss or a gradient is not finite, and nothing changes."""
    state.ranks.give_back()  # the optimizers move pieces: what is borrowed would stay behind
    reduce(state, turn, losses)
    # Norms stay on the device: to read one here would make the CPU wait for the GPU in every turn of every iteration.
    norms = {name: state.updaters[name].norm() for name in turn.trains}
    # Kept beside the numbers, for `check` looks at them long after.
    nimg = torch.full((), state.nimg, device=state.device, dtype=torch.float64)
    numbers = torch.stack([nimg, *losses.values(), *(norm.double() for norm in norms.values())])
    # One verdict for the whole turn: networks that train together step together, or drift apart.
    skipped = ~torch.isfinite(numbers).all()
    state.skips.count(turn.name, skipped, numbers)
    # What was skipped is left out of the means: one nan would hide all other updates of a tick.
    for hook, loss in losses.items():
        state.records.add(f"loss/{turn.name if len(losses) == 1 else hook.removesuffix('_loss')}", loss, skipped)
    for name, norm in norms.items():
        state.records.add(f"grad_norm/{name}", norm, skipped)
        state.updaters[name].step(state.nimg, state.total, skipped)
    return skipped


def reduce(state: State, turn: Turn, losses: dict[str, Tensor]) -> None:
    """Add up what the ranks have of losses and gradients.

    Sums, never means: a loss is divided by the global batch already, so ranks may hold unequal shares of it.
    """
    params = [p for name in turn.trains for p in state.updaters[name].params]
    state.ranks.alike(f"gradients of turn {turn.name!r}", partial(described, state, turn))
    state.ranks.sum_(list(losses.values()))
    # One without a gradient stays without: of zeros, AdamW would make a decay. Those of pieces were summed in the pass.
    state.ranks.sum_([p.grad for p in params if p.grad is not None and not pieces.cut(p)])
    # After the sum: what auxiliary terms compared at the parameters was added up for that already.
    for p, summed in state.added.items():
        p.grad = summed if p.grad is None else summed + p.grad
    state.added.clear()


def described(state: State, turn: Turn) -> list[str]:
    """The parameters that `turn` trains: which, their shapes, whether they have a gradient."""
    params = [(f"{name}.{i}", p) for name in turn.trains for i, p in enumerate(state.updaters[name].params)]
    return [f"{at} {list(p.shape)}{'' if p.grad is None else ', a gradient'}" for at, p in params]


def check(state: State) -> None:
    """Look at the counts of skipped updates. Raises Diverged if a turn had too many in a row."""
    for turn in state.turns:
        times, numbers = state.skips.longest(turn.name)
        if times > state.recipe.run.max_nonfinite:
            nimg, *values = numbers
            loss, norms = sum(values[: len(turn.losses)]), values[len(turn.losses) :]
            shown = (f"gradient norm of {name} = {norm:g}" for name, norm in zip(turn.trains, norms, strict=True))
            raise Diverged(
                f"turn {turn.name!r} was not finite {times} times in a row, at {nimg / 1000:g} kimg: "
                f"loss = {loss:g}, {', '.join(shown)}"
            )
