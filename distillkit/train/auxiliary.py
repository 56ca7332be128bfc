"""Auxiliary terms: their gradient on the whole batch of images, weighted against the method's."""

from __future__ import annotations

from typing import cast

import attrs
import torch
from torch import Tensor

from distillkit.api import PluginError, Term, Turn
from distillkit.api.slots import AuxiliarySlot
from distillkit.train.masked import seed_masks
from distillkit.train.ranks import pieces
from distillkit.train.state import Part, State
from distillkit.train.step import Step, counts_as
from distillkit.train.whole import Whole

DECAY = 0.9  # of the averaged gradient norms behind weight = "auto"


def due(state: State) -> list[Part]:
    """The auxiliary losses that act in this iteration."""
    return [part for part in state.auxiliaries if acts(part.slot, state)]


def acts(slot: AuxiliarySlot, state: State) -> bool:
    kimg = state.nimg / 1000
    stopped = slot.stop_kimg is not None and kimg >= slot.stop_kimg
    return state.iteration % slot.every == 0 and kimg >= slot.start_kimg and not stopped


def auxiliary_gradients(state: State, turn: Turn, steps: list[Step], active: list[Part]) -> None:
    """Add the gradient of every term, weighted, to the x of its step."""
    # The whole batch at once: distances of distributions, such as the MMD, are no means over images, and the mean of
    # those of micro-batches is another, noisier loss.
    own = Step(
        state, turn.name, steps[0].first, sum(step.n for step in steps), state.batch, trains_generator=True,
        same_images_as=turn.same_images_as, of_batch=True,
        stream=f"{turn.name}/auxiliary",  # other numbers than the method drew
        x=torch.cat([step.x for step in steps]).detach().requires_grad_(),
    )  # fmt: skip
    counts = state.ranks.counts(state.batch, state.recipe.run.micro_batch, state.group)
    whole = own if len(counts) == 1 else Whole(own, counts)
    method = [step.x.grad for step in steps if step.x.grad is not None]
    at_x = len(method) == len(steps)
    # ||dL/dx|| over [batch,C,H,W]: where gradients meet, a term can be measured without a pass of the generator.
    norm = torch.zeros(())
    if any(part.slot.weight == "auto" for part in active):
        norm = norm_of_rows(state, method) if at_x else norm_at_parameters(state)
    for index, part in enumerate(active):
        # For each term: what one draws leaves the masks of the next as they were.
        masks = seed_masks(state, own.first, own.n, turn.name, "auxiliary_loss", index)
        with masks, state.records.weighing(counts_as(own)):
            terms = part.call(state=state, step=whole)
        for term in terms:
            state.record(f"loss/{part.name}", term.value)
            add(state, steps, own.x, part, attrs.evolve(term, grad=at_own(part, term, own, whole)), norm, at_x)


def at_own(part: Part, term: Term, own: Step, whole: Step) -> Tensor | None:
    """The gradient that a term gives at the images of this rank, as `gather` would give it: times the ranks."""
    if term.grad is None or term.grad.shape == own.x.shape:
        return term.grad
    if len(term.grad) != whole.n or term.grad.shape[1:] != own.x.shape[1:]:
        got, wanted = list(term.grad.shape), list(own.x.shape)
        raise PluginError(f"auxiliary_loss {part.name!r}: Term.grad is {got}, expected {wanted}, as step.x")
    return term.grad[own.first : own.first + own.n] * own.state.ranks.size


def add(state: State, steps: list[Step], x: Tensor, part: Part, term: Term, method: Tensor, at_x: bool) -> None:
    """One term: a fixed weight also reaches parameters directly, an automatic one only images.

    `method` is the norm of the method's gradient at x, or, where it has none there, at the generator's parameters.
    """
    grad: Tensor | None
    # The objective is the mean over ranks of the term, which is the same number on each: what they add up is one term.
    ranks = state.ranks.size
    # An adaptive weight of a term's own paper comes before ours, which knows nothing of the term.
    weight = term.weight if part.slot.weight == "auto" and term.weight is not None else part.slot.weight
    norm: Tensor | None = None  # of what comes to the images, where it was added up already
    if weight == "auto":
        # At x alone: the weight balances norms there, and says nothing of another way to the parameters.
        grad = torch.autograd.grad(term.value / ranks, x)[0] if term.grad is None else term.grad / ranks
        if not at_x:
            return add_at_parameters(state, steps, part, grad, method)
        norm = norm_of_rows(state, rows_of(steps, grad))
        balance = balanced(state, part.name, part.slot.ratio, method, norm)
        grad, norm = grad * balance, norm * balance
    elif term.grad is not None:
        grad = weight * term.grad / ranks
    else:
        # Of this term alone, so that its norm can be told from the others'; .grad of parameters adds up meanwhile.
        x.grad = None
        (weight * term.value / ranks).backward()
        grad = x.grad
    if grad is not None:
        parts = rows_of(steps, grad)
        state.record(f"grad_norm/{part.name}", norm_of_rows(state, parts) if norm is None else norm)
        for step, rows in zip(steps, parts, strict=True):
            # A copy: autograd may add to .grad in place, and rows are a view of the batch's.
            step.x.grad = rows.clone() if step.x.grad is None else step.x.grad + rows


def add_at_parameters(state: State, steps: list[Step], part: Part, grad: Tensor, method: Tensor) -> None:
    """A term beside a method that never saw x (consistency models): both are compared at the generator's parameters."""
    params = state.updaters["generator"].params
    pulled = [step.pull(rows, params) for step, rows in zip(steps, rows_of(steps, grad), strict=True)]
    total = [cast(Tensor, sum(parts)) for parts in zip(*pulled, strict=True)]
    norm = summed_norm(state, total)
    # Linear in the gradient at x, so one pull serves both the norm and, scaled, the update.
    weight = balanced(state, part.name, part.slot.ratio, method, norm)
    state.record(f"grad_norm/{part.name}", weight * norm)
    for p, g in zip(params, total, strict=True):
        before = p.grad if state.ranks.size == 1 else state.added.get(p)
        after = weight * g if before is None else before + weight * g
        if state.ranks.size == 1:
            p.grad = after
        else:
            state.added[p] = after


def balanced(state: State, name: str, ratio: float, method: Tensor, term: Tensor) -> Tensor:
    """Weight [] with which the term's gradient norm is `ratio` times the method's, over running averages."""
    # Averages of each norm, not of their quotient: a step in which the term is all but 0 would outweigh the others.
    norms = torch.stack([method, term]).double()
    before = state.balance.get(name, torch.full_like(norms, torch.nan))  # nan: none yet
    mean = torch.where(before.isnan(), norms, DECAY * before + (1 - DECAY) * norms)
    state.balance[name] = torch.where(norms.isfinite().all(), mean, before)  # a sick step leaves no trace
    # w = ratio E||g_method|| / E||g_term||; a term that vanishes gets a weight that is large, and finite.
    weight = ratio * mean[0] / mean[1].clamp(min=1e-30)
    state.record(f"weight/{name}", weight)
    return weight.to(term.dtype)


def rows_of(steps: list[Step], grad: Tensor) -> list[Tensor]:
    """The rows of each step in a gradient [M,C,H,W] at the images of this rank."""
    return list(grad.split([step.n for step in steps]))


def norm_of_rows(state: State, parts: list[Tensor]) -> Tensor:
    """Norm [] of gradients at images of all ranks; each pass by itself, so that their sum is that of any ranks."""
    squares = torch.stack([part.double().square().sum() for part in parts]).sum()
    state.ranks.sum_([squares])
    return squares.sqrt().to(parts[0].dtype)


def norm_at_parameters(state: State) -> Tensor:
    """Norm [] of the method's gradient at the generator's parameters, of all ranks together."""
    params = [p for p in state.updaters["generator"].params if p.grad is not None]
    grads = [cast(Tensor, p.grad) for p in params]
    norm = summed_norm(state, grads)
    # Put aside: what comes to parameters from here on is added up by the update, this is.
    if state.ranks.size > 1:
        state.added.update(zip(params, grads, strict=True))
        for p in params:
            p.grad = None
    return norm


def summed_norm(state: State, grads: list[Tensor]) -> Tensor:
    """Norm [] of the sum over ranks of gradients, each of which is replaced by its sum."""
    state.ranks.sum_([grad for grad in grads if not pieces.cut(grad)])  # pieces come summed out of the pass
    return state.ranks.norm(grads) if grads else torch.zeros(())
