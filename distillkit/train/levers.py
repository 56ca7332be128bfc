"""Levers: keys of a recipe that make its iterations faster or smaller and leave its mathematics alone.

One row each, applied when all networks of the run exist. What does not go together is refused in a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

from attrs import frozen

from distillkit.api import UsageError
from distillkit.recipe.schema import Recipe
from distillkit.train import adam8, compiled, half, host, layout, recompute
from distillkit.train.state import State


@frozen(kw_only=True)
class Lever:
    """A key, what it does to a run, and what `plan --tune` tries of it."""

    key: str  # as a recipe names it: "run.compile"
    on: Any = True  # the value that is tried
    off: Any = False  # the value with which all is as without the key
    apply: Callable[[State], None] = lambda state: None  # on the meta device too, where memory is counted
    refuses: Callable[[State], str] = lambda state: ""  # why it cannot be here; "": it can
    numbers: str  # what it changes in them, in a few words

    def value(self, recipe: Recipe) -> Any:
        return reduce(getattr, self.key.split("."), recipe)

    def pulled(self, recipe: Recipe) -> bool:
        return bool(self.value(recipe) != self.off)


# In the order in which they are applied: what wraps a network's parts comes after what changes them.
LEVERS = (
    Lever(
        key="run.channels_last", numbers="rounding: other kernels add up in another order",
        apply=lambda state: layout.channels_last(denoisers(state).values()),
        refuses=lambda state: "" if any(map(layout.convolves, denoisers(state).values())) else "no network convolves",
    ),
    Lever(
        key="run.teacher_dtype", on="bf16", off=None, numbers="the teacher's: its weights have 8 bits in place of 24",
        apply=half.lower_teacher, refuses=half.refused,
    ),
    Lever(
        key="run.checkpoint_activations", numbers="none",
        apply=lambda state: recompute.recompute(differentiated(state)),
        refuses=lambda state: recompute.refused(differentiated(state)),
    ),
    Lever(
        key="run.state_bits", on=8, off=32, numbers="moments have 8 bits: each within 1 % of the largest of its 256",
        refuses=lambda state: next((why for s in state.settings.values() if (why := adam8.refused(s))), ""),
    ),
    Lever(
        key="run.ema_device", on="cpu", off=None, numbers="none",
        apply=lambda state: to_the_host(state, moments=False),
    ),
    Lever(key="run.offload", numbers="none", apply=lambda state: to_the_host(state, moments=True)),
    Lever(
        key="run.compile", numbers="rounding: operations are fused, and sums are taken in another order",
        apply=lambda state: compile_passes(state),
    ),
)  # fmt: skip

# What may stand beside a lever, and is not one: whether it is there.
BESIDE: dict[str, Callable[[State], bool]] = {
    "generator.adapter": lambda state: state.recipe.generator.adapter is not None,
    "--nproc": lambda state: state.ranks.size > 1,
    "--shard": lambda state: state.ranks.shards > 1,
    "run.micro_batch": lambda state: state.recipe.run.micro_batch is not None,
    'run.precision = "bf16"': lambda state: state.recipe.run.precision == "bf16",
    'run.precision = "fp64"': lambda state: state.recipe.run.precision == "fp64",
}
PIECES = "what lies in pieces stays with the ranks, each of which holds little"
# Pairs that do not go together, of keys of levers and names above, and why.
APART: dict[tuple[str, str], str] = {
    ("run.compile", "--shard"): "a compiled pass has no place where weights are lent",
    ("run.compile", "run.checkpoint_activations"): "compiled blocks cannot drop again what they dropped",
    ("run.channels_last", "--shard"): "FSDP cuts weights that lie in the usual order alone",
    ("run.ema_device", "--shard"): PIECES,
    ("run.offload", "--shard"): PIECES,
    ("run.state_bits", "--shard"): "a piece of a tensor has no whole blocks of 256 numbers",
    ("run.state_bits", 'run.precision = "fp64"'): "torchao's moments are read as float32",
    ("run.teacher_dtype", "generator.adapter"): "teacher and student share their weights",
    ("run.teacher_dtype", 'run.precision = "fp64"'): "autocast knows no float64",
}


def apply(state: State) -> None:
    """Pull the levers of the recipe. Raises UsageError for one that cannot be pulled here, or beside another."""
    pulled = [lever for lever in LEVERS if lever.pulled(state.recipe)]
    there = {lever.key for lever in pulled} | {name for name, is_there in BESIDE.items() if is_there(state)}
    for (one, other), why in APART.items():
        if {one, other} <= there:
            raise UsageError(f"{one} does not go with {other}: {why}")
    for lever in pulled:
        if why := lever.refuses(state):
            raise UsageError(f"{lever.key}: {why}")
        lever.apply(state)


def denoisers(state: State) -> dict[str, Any]:
    """The denoisers of a run, each once, by a name: those that train, the teacher, the average, copies."""
    named: dict[str, Any] = {
        **state.networks, "teacher": state.teacher and state.teacher.network, "average": state.average,
        "drawn average": state.ema, **{f"teacher {n}": one.network for n, one in enumerate(state.teachers, 1)},
        **{f"copy {name}": copy.module for name, copy in state.copies.items()},
    }  # fmt: skip
    found: dict[int, tuple[str, Any]] = {}
    for name, network in named.items():
        if hasattr(network, "compute_dtype"):  # heads of discriminators are no denoisers
            found.setdefault(id(network), (name, network))
    return dict(found.values())


def differentiated(state: State) -> list[Any]:
    """The networks through which gradients may go; the average's do not."""
    # The teacher has frozen weights, but a loss asks for its gradient at the images, and that graph is as large.
    teachers = [one.network for one in (state.teacher, *state.teachers) if one is not None and one.network is not None]
    return [*state.networks.values(), *teachers, *(copy.module for copy in state.copies.values())]


def compile_passes(state: State) -> None:
    """Compile what passes in training call: all but the average, which is drawn with as those do who load it."""
    # There shapes and bytes are counted, which are those of the passes as they are written.
    if state.device.type == "meta":
        return
    compiled.ready(state.device, state.cache)
    for network, trains in compiling(state):
        compiled.compiles(network, trains)


def compiling(state: State) -> Iterator[tuple[Any, bool]]:
    """The networks whose passes are compiled, and whether they train."""
    for name, network in denoisers(state).items():
        if network is not state.average and network is not state.ema:
            yield network, name in state.networks


def to_the_host(state: State, moments: bool) -> None:
    """Let the average of the weights lie in the memory of the host, and optimizers' states where `moments`."""
    if state.recipe.run.device == "cpu":  # they do; where memory is counted the device does not say so
        return
    state.ema = state.average = host.kept(state.average)
    for updater in state.updaters.values() if moments else ():
        updater.offload()
