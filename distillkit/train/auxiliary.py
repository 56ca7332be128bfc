"""Auxiliary terms: their gradient on the whole batch of images, weighted against the method's."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from distillkit.api import PluginError, Term, Turn
from distillkit.api.slots import AuxiliarySlot
from distillkit.train.state import Part, State
from distillkit.train.step import Step, seed_masks

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
    whole = Step(
        state, turn.name, 0, state.batch, state.batch, trains_generator=True, same_images_as=turn.same_images_as,
        stream=f"{turn.name}/auxiliary",  # other numbers than the method drew
        x=torch.cat([step.x for step in steps]).detach().requires_grad_(),
    )  # fmt: skip
    method = [step.x.grad for step in steps if step.x.grad is not None]
    at_x = len(method) == len(steps)
    # ||dL/dx|| over [batch,C,H,W]: where gradients meet, a term can be measured without a pass of the generator.
    norm = torch.cat(method).norm() if at_x else state.updaters["generator"].norm()
    for index, part in enumerate(active):
        # For each term: what one draws leaves the masks of the next as they were.
        with seed_masks(state, whole.first, whole.n, turn.name, "auxiliary_loss", index):
            terms = part.call(state=state, step=whole)
        for term in terms:
            if term.grad is not None and term.grad.shape != whole.x.shape:
                got, wanted = list(term.grad.shape), list(whole.x.shape)
                raise PluginError(f"auxiliary_loss {part.name!r}: Term.grad is {got}, expected {wanted}, as step.x")
            state.record(f"loss/{part.name}", term.value)
            add(state, steps, whole.x, part, term, norm, at_x)


def add(state: State, steps: list[Step], x: Tensor, part: Part, term: Term, method: Tensor, at_x: bool) -> None:
    """One term: a fixed weight also reaches parameters directly, an automatic one only images.

    `method` is the norm of the method's gradient at x, or, where it has none there, at the generator's parameters.
    """
    grad: Tensor | None
    # An adaptive weight of a term's own paper comes before ours, which knows nothing of the term.
    weight = term.weight if part.slot.weight == "auto" and term.weight is not None else part.slot.weight
    if weight == "auto":
        # At x alone: the weight balances norms there, and says nothing of another way to the parameters.
        grad = torch.autograd.grad(term.value, x)[0] if term.grad is None else term.grad
        if not at_x:
            return add_at_parameters(state, steps, part, grad, method)
        grad = grad * balanced(state, part.name, part.slot.ratio, method, grad.norm())
    elif term.grad is not None:
        grad = weight * term.grad
    else:
        # Of this term alone, so that its norm can be told from the others'; .grad of parameters adds up meanwhile.
        x.grad = None
        (weight * term.value).backward()
        grad = x.grad
    if grad is not None:
        state.record(f"grad_norm/{part.name}", grad.norm())
        for step in steps:
            rows = grad[step.first : step.first + step.n]
            # A copy: autograd may add to .grad in place, and rows are a view of the batch's.
            step.x.grad = rows.clone() if step.x.grad is None else step.x.grad + rows


def add_at_parameters(state: State, steps: list[Step], part: Part, grad: Tensor, method: Tensor) -> None:
    """A term beside a method that never saw x (consistency models): both are compared at the generator's parameters."""
    params = state.updaters["generator"].params
    pulled = [step.pull(grad[step.first : step.first + step.n], params) for step in steps]
    total = [cast(Tensor, sum(parts)) for parts in zip(*pulled, strict=True)]
    norm = torch.nn.utils.get_total_norm(total)
    # Linear in the gradient at x, so one pull serves both the norm and, scaled, the update.
    weight = balanced(state, part.name, part.slot.ratio, method, norm)
    state.record(f"grad_norm/{part.name}", weight * norm)
    for p, g in zip(params, total, strict=True):
        p.grad = weight * g if p.grad is None else p.grad + weight * g


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
