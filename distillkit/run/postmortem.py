"""What is kept of a run that diverged: the first tensor that is not finite, and all that makes it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distillkit.api import Turn
from distillkit.disk import checkpoint
from distillkit.train import snapshot, turns
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State
from distillkit.train.step import Step

FOLDER = "diverged"  # of a run: a checkpoint that has a file more, batch.safetensors


def keep(state: State, folder: Path) -> str:
    """Save the state and the batch of the update that was not finite, and make it once more -> what was seen, in words.

    The state is of no use afterwards.
    """
    state.ranks = Ranks()  # the others are done: this one makes the whole batch
    turn, nimg = failed(state)
    state.iteration -= (state.nimg - nimg) // state.batch
    state.nimg = nimg
    state.made.clear()
    kept, meta = batch(state, turn), {"turn": turn.name, "seconds": 0.0, "tick_from": [nimg, 0.0], "best": None}
    tensors, own = snapshot.capture(state)
    folder.mkdir(exist_ok=True)
    path = checkpoint.save(folder, nimg, tensors | {f"batch/{k}": v for k, v in kept.items()}, own | meta, keep=1)
    name = first(state, turn, kept)
    return f"first not finite: {name}; batch and weights: {folder.name}/{path.name}"


def failed(state: State) -> tuple[Turn, int]:
    """Name the turn that was not finite most often in a row, and the images seen before the last of these updates."""
    rows = {turn.name: state.skips.longest(turn.name) for turn in state.turns}
    turn = max(state.turns, key=lambda turn: rows[turn.name][0])
    return turn, int(rows[turn.name][1][0])


def batch(state: State, turn: Turn) -> dict[str, Tensor]:
    """Collect what the turn saw: real images, labels, indices, and the generated images of the weights of now."""
    size = state.micro_batch
    steps = [
        Step(state, turn.name, first, size, state.batch, same_images_as=turn.same_images_as)
        for first in range(0, state.batch, size)
    ]
    kept = {"index": [s.index for s in steps], "real": [s.real for s in steps], "x": [s.x for s in steps]}
    if steps[0].labels is not None:
        kept["labels"] = [s.labels for s in steps if s.labels is not None]
    return {name: torch.cat([part.cpu() for part in parts]) for name, parts in kept.items()}


def first(state: State, turn: Turn, kept: dict[str, Tensor]) -> str:
    """Take the turn again, watched -> the name of the first tensor that is not finite, as the computation goes."""
    networks: dict[str, nn.Module] = dict(state.networks)
    if state.teacher is not None and isinstance(state.teacher.network, nn.Module):
        networks["teacher"] = state.teacher.network
    for owner, network in networks.items():
        for name, value in network.state_dict().items():
            if not finite(value):
                return f"weight {name} of {owner}"
    if not finite(kept["real"]):
        return "the real images"
    found: list[str] = []
    state.made.clear()
    with watched(networks, found.append):
        skipped = turns.take(state, turn)
    if found:
        return found[0]
    return f"the loss of turn {turn.name!r}" if bool(skipped) else "none: it was finite when made once more"


@contextmanager
def watched(networks: dict[str, nn.Module], note: Callable[[str], None]) -> Iterator[None]:
    """Inside, `note` is told of outputs of modules, and of gradients of weights, that are not finite."""
    with ExitStack() as stack:
        for owner, network in networks.items():
            for path, module in network.named_modules():
                name = f"output of {path or 'the whole network'} in {owner}"
                stack.enter_context(module.register_forward_hook(_told(name, note)))
            for path, p in network.named_parameters():
                needed = p.requires_grad
                hook = _of_gradient(f"gradient of {path} of {owner}", note)
                stack.enter_context(p.requires_grad_(True).register_post_accumulate_grad_hook(hook))
                p.requires_grad_(needed)
        yield


def _told(name: str, note: Callable[[str], None]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        for value in output if isinstance(output, list | tuple) else [output]:
            if isinstance(value, Tensor) and not finite(value):
                note(f"{name}, {list(value.shape)}")

    return hook


def _of_gradient(name: str, note: Callable[[str], None]) -> Callable[[Tensor], None]:
    def hook(p: Tensor) -> None:
        if p.grad is not None and not finite(p.grad):
            note(name)

    return hook


def finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(value.isfinite().all())
