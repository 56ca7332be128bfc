"""What the first rank asks of the others while it evaluates, and what they do for it."""

from __future__ import annotations

import copyreg
import io
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from distillkit.evaluate.share import Asked, Net, drawn, embedded
from distillkit.train.state import State

NETS = 8  # feature networks that every rank keeps


def words(state: State) -> dict[str, Callable[..., None]]:
    """By word, what this rank does when the first one says it."""
    return {
        "draw": lambda asked: _give(state, _draw(state, asked)),
        "features": lambda **facts: _give(state, _embed(state, **facts)),
        "net": lambda number, net: _keep(state, number, net),
        "average": lambda: _take(state),
    }


# On the first rank.


def draw(state: State, asked: Asked) -> list[Tensor]:
    """Images, and labels where there are classes, made by all ranks. Raises what any of them raises."""
    return _asked(state, "draw", asked=asked)


def features(state: State, asked: Asked, net: Net, batch: int, keep: int) -> list[Tensor]:
    """See `share.embedded`, by all ranks; a network that is new to them is sent before."""
    number = next((number for number, known in state.nets.items() if known is net), None)
    if number is None:
        number = max(state.nets, default=0) + 1
        with state.ranks.undisturbed(), state.ranks.asked("net", number=number, net=net):
            _keep(state, number, net)
    return _asked(state, "features", asked=asked, number=number, batch=batch, keep=keep)


def send_average(state: State) -> None:
    """Give the others the average that `state.ema` holds here and not with them, if they listen."""
    if state.ranks.listening:
        with state.ranks.undisturbed(), state.ranks.asked("average"):
            state.ranks.spread((state.ema.state_dict(), {}))


def portable(state: State, thing: Any) -> bool:
    """Whether the others have it, or it can be sent."""
    if any(known is thing for known in state.nets.values()):
        return True
    try:
        pickle.dumps(thing)
    except Exception:  # of any class: what an object does when it is asked for itself is its own
        return False
    return True


def _asked(state: State, word: str, **facts: Any) -> list[Tensor]:
    # No signal between a word and its answer: it would leave the others in the middle.
    with state.ranks.undisturbed(), state.ranks.asked(word, **facts):
        make = _draw(state, **facts) if word == "draw" else _embed(state, **facts)
        found, error = state.ranks.assemble(make)
    if error is not None:
        raise error
    return found


# On every rank.


def _draw(state: State, asked: Asked) -> Callable[[], list[Tensor]]:
    return partial(drawn, state, asked.part(state.rows(asked.n)))


def _embed(state: State, asked: Asked, number: int, batch: int, keep: int) -> Callable[[], list[Tensor]]:
    rows = state.rows(asked.n)
    return lambda: embedded(state, asked.part(rows), state.nets[number], batch, keep - rows.start)


def _keep(state: State, number: int, net: Net) -> None:
    """Keep a network; the oldest goes, here and elsewhere alike."""
    state.nets[number] = net
    if len(state.nets) > NETS:
        del state.nets[min(state.nets)]


def _give(state: State, make: Callable[[], list[Tensor]]) -> None:
    state.ranks.assemble(make)  # an error of this rank is the first one's to raise


def _take(state: State) -> None:
    tensors, _ = state.ranks.spread(({}, {}))
    state.ema.load_state_dict(tensors)


# A TorchScript network has no pickle of its own; it goes as the bytes of its file.


def _scripted(net: nn.Module) -> tuple[Callable[[bytes], nn.Module], tuple[bytes]]:
    raw = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(net, raw)
    return _unscripted, (raw.getvalue(),)


def _unscripted(raw: bytes) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        net: nn.Module = torch.jit.load(io.BytesIO(raw), map_location="cpu").eval()
    return net


copyreg.pickle(cast(Any, torch.jit).RecursiveScriptModule, _scripted)
