"""Runs of a toy state, taken apart: what moved, which gradients there were, whether two runs are the same bits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distillkit.api import Denoiser, Turn
from distillkit.train import snapshot, turns
from distillkit.train.iterate import iterate
from distillkit.train.state import State

Snapshot = tuple[dict[str, Tensor], dict[str, Any]]


def run(state: State, iterations: int) -> State:
    """Some iterations, after a stranger has used torch's global generator."""
    for _ in range(iterations):
        torch.rand(7)
        iterate(state)
    return state


def iterations(state: State) -> int:
    """Enough for every turn to come, after the second iteration too."""
    return max(4, *(turn.first + (turn.every if turn.first < 2 else 0) + 1 for turn in state.turns))


def copied(state: State) -> Snapshot:
    """A snapshot as a checkpoint would keep it."""
    tensors, meta = snapshot.capture(state)
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}, json.loads(json.dumps(meta))


def differences(a: Snapshot, b: Snapshot) -> list[str]:
    """Names of what is not the same bits in both."""
    names = sorted(set(a[0]) | set(b[0]))
    unequal = [name for name in names if not (name in a[0] and name in b[0] and torch.equal(a[0][name], b[0][name]))]
    return unequal + [key for key in a[1] if a[1][key] != b[1].get(key)]


def weights(state: State) -> dict[str, Tensor]:
    """All parameters, by network, as they are now: trained ones, "teacher" and "ema"."""
    networks: dict[str, nn.Module | Denoiser] = {**state.networks, "ema": state.ema}
    if state.teacher is not None and state.teacher.network is not None:
        networks["teacher"] = state.teacher.network
    return {name: torch.cat([p.detach().flatten() for p in net.parameters()]) for name, net in networks.items()}


def moved(state: State, turn: Turn) -> set[str]:
    """Take one turn -> the networks whose parameters changed."""
    before = weights(state)
    turns.take(state, turn)
    after = weights(state)
    return {name for name in before if not torch.equal(before[name], after[name])}


def gradients(state: State) -> list[tuple[str, Tensor]]:
    """One iteration -> network and gradient [parameters] of every update, in order."""
    found: list[tuple[str, Tensor]] = []
    for name, updater in state.updaters.items():

        def step(
            nimg: int,
            total: int,
            skipped: Tensor | None = None,
            name: str = name,
            params: Sequence[Tensor] = updater.params,
        ) -> None:
            zeros = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
            found.append((name, torch.cat([grad.flatten() for grad in zeros]).clone()))

        updater.step = step  # type: ignore[method-assign]
    iterate(state)
    return found


def losses(state: State, turn: Turn) -> dict[str, Tensor]:
    """The loss hooks of a turn on its whole batch, as the engine asks them."""
    with turns.training(state, turn):
        (step,) = turns.micro_steps(state, turn, recompute=False)
        found = {}
        if "critic_loss" in turn.losses:
            found["critic_loss"] = turns.critic_loss(state, turn, step)
        if "generator_loss" in turn.losses:
            found["generator_loss"] = state.hook.generator_loss(
                state=state, step=step, teacher_score=state.teacher_score
            )
        return found
