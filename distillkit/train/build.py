"""From a checked recipe to live objects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

import attrs
import pluggy
import torch
from torch import nn

from distillkit.api import (
    Choice,
    Component,
    Dataset,
    Denoiser,
    GeneratorLoss,
    InputError,
    OncePerTurn,
    PluginError,
    TeacherScore,
    Turn,
    UsageError,
)
from distillkit.assets.folder import cache
from distillkit.device import pick_device, settle
from distillkit.networks import imported, network_file
from distillkit.recipe.made_for import misused_by
from distillkit.recipe.schema import Recipe, by_logged_name
from distillkit.registry import Catalog
from distillkit.train import levers, shared
from distillkit.train import manager as managers
from distillkit.train.optim import Updater
from distillkit.train.ranks import shares
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import Part, State
from distillkit.train.student import copied, make_generator

# bf16 is of layers alone: weights stay float32, for a step of lr 1e-5 would be lost in the 8 bits of a bf16 weight.
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}


def build(recipe: Recipe, catalog: Catalog, ranks: Ranks | None = None) -> State:
    """Open the data, load the teacher, make generator, critics and optimizers; nothing has trained yet.

    `ranks`: this process among those of the run; None: it is alone.
    """
    device = pick_device(recipe.run.device)
    if device.index is not None and ranks is not None and ranks.size > 1:
        raise UsageError(f'run.device = "{recipe.run.device}" is one device, and {ranks.size} processes want one each')
    settle(device, recipe.run.precision == "tf32", recipe.run.deterministic)
    dataset = opened(recipe)
    load = lambda path: imported.load_network(Path.cwd() / path, catalog)  # noqa: E731
    return assemble(recipe, catalog, device, dataset, load, ranks or Ranks())


def opened(recipe: Recipe) -> Dataset:
    """The data set, its files read. Raises InputError for one that is empty, or not what its statistics are of."""
    dataset = recipe.dataset.build()
    dataset.cache = cache()
    dataset.open(Path.cwd())
    if len(dataset) == 0:
        raise InputError(f"dataset {recipe.dataset.name!r} holds no images")
    if wrong := misused_by(recipe, dataset):
        raise InputError(wrong)
    return dataset


def assemble(
    recipe: Recipe, catalog: Catalog, device: torch.device, dataset: Dataset, load: Callable[[str | Path], Denoiser],
    ranks: Ranks,
) -> State:  # fmt: skip
    """The live objects of a recipe around an opened data set; `load` makes the network of a checkpoint."""
    components = build_components(recipe if ranks.first else attrs.evolve(recipe, evaluate=()))
    hooks = managers.manager(components)
    state = State(
        recipe=recipe, device=device, dtype=DTYPES[recipe.run.precision], dataset=dataset,
        held_out=dataset.held_out(), cache=cache(), hook=hooks.hook, components=components, ranks=ranks,
        load_network=lambda path: load(path).to(device),
        with_dropout=lambda network: copied(state, network, catalog),
        teacher=cast(TeacherScore | None, components.get("teacher_score")),
    )  # fmt: skip
    state.auxiliaries = hooked(hooks, "auxiliary_loss", recipe.auxiliary_loss)
    if ranks.first:
        state.evaluators = hooked(hooks, "evaluate", recipe.evaluate)
    else:  # the first rank measures; this one knows when, and asks no metric to get ready
        named = by_logged_name(recipe.evaluate)
        state.evaluators = [Part(name, choice.slot, nobody) for name, choice in named.items()]
    setup(state, hooks, catalog)
    return state


def nobody(**given: Any) -> list[Any]:
    return []


def hooked(hooks: pluggy.PluginManager, hook: str, choices: tuple[Choice[Any], ...]) -> list[Part]:
    """Each component of a list, asked by itself."""
    named = enumerate(by_logged_name(choices).items())
    return [managers.alone(hooks, hook, f"{hook}.{i}", choice.slot, name) for i, (name, choice) in named]


def build_components(recipe: Recipe) -> dict[str, Component]:
    """The objects that have hooks, by their place in the recipe, in pipeline order."""
    places: dict[str, Choice[Any] | None] = {
        "teacher_score": recipe.teacher_score,
        "teacher_score.guidance": recipe.teacher_score and recipe.teacher_score.slot.guidance,
        "sample": recipe.sample,
        "generator_loss": recipe.generator_loss,
        **{f"auxiliary_loss.{i}": choice for i, choice in enumerate(recipe.auxiliary_loss)},
        **{f"evaluate.{i}": choice for i, choice in enumerate(recipe.evaluate)},
    }
    return {place: choice.build() for place, choice in places.items() if choice is not None}


def setup(state: State, hooks: pluggy.PluginManager, catalog: Catalog) -> None:
    """Teacher first, since generator and critics may be copies of it; then the generator; then the rest."""
    rest = [part for place, part in state.components.items() if place != "teacher_score"]
    # pluggy takes those to leave out: this asks the teacher alone.
    hooks.subset_hook_caller("setup", rest)(state=state)
    if state.teacher and state.teacher.network is not None:
        network_file.check_shape(state.teacher.network, state.dataset, "teacher_score", state.dataset.label_dim)
        if state.recipe.generator.adapter:
            shared.freeze(state.teacher.network)  # before anything is a copy of it
    recipe = state.recipe
    state.generator = state.add_network("generator", make_generator(state, catalog), recipe.generator.optimizer)
    # A module of its own and never a view: the average takes no gradient, and drops nothing.
    state.ema = state.average = copy.deepcopy(state.generator).eval().requires_grad_(False)
    hooks.subset_hook_caller("setup", [state.teacher] if state.teacher else [])(state=state)
    if not any("generator" in turn.trains for turn in state.turns):
        state.turns = [*default_turns(state), *state.turns]
    check_turns(state)
    shares.check_statistics(state.networks, state.batch, recipe.run.micro_batch, state.ranks.size, state.group)
    share(state)
    for name, network in state.networks.items():
        # After `setup`, which may add to `state.frozen`: what an optimizer holds is fixed from here on.
        frozen = frozen_names(network, recipe.generator.freeze) | state.frozen if name == "generator" else frozenset()
        state.updaters[name] = Updater(state.settings[name], network, frozen, state.ranks, state.recipe.run.state_bits)
        state.once_per_turn[name] = [
            module for module in network.modules() if isinstance(module, OncePerTurn) and shared.trains(module)
        ]
        network.eval().requires_grad_(False)  # until a turn trains it
    for each in [
        *state.networks.values(),
        state.ema,
        state.average,
        *([state.teacher.network] if state.teacher else []),
    ]:
        if each is not None:
            cast(Denoiser, each).compute_dtype = state.compute_dtype
    levers.apply(state)


def share(state: State) -> None:
    """Cut the networks into pieces where ranks share them: after the last copy was made, before the optimizers.

    The teacher stays whole: it has no gradients and no moments, and pictures of it are drawn by one rank.
    """
    whole = state.ema
    if state.ranks.size > 1:
        state.average = copy.deepcopy(whole)
    networks = [*state.networks.values(), cast(nn.Module, state.average), *(c.module for c in state.copies.values())]
    trained = sum(p.numel() for network in state.networks.values() for p in network.parameters())
    if state.recipe.generator.adapter is None:
        state.ranks.divide(networks, state.device, trained)
    elif (state.ranks.asked_shards or 1) > 1:
        raise UsageError("--shard does not go with generator.adapter: what is large is in memory once as it is")
    adapted = state.recipe.generator.adapter is not None
    for place, component in state.components.items() if adapted or state.ranks.shards > 1 else ():
        if place.startswith("evaluate.") and "after_step" in vars(type(component)):
            where = "are adapters alone (generator.adapter)" if adapted else "lie in pieces (--shard)"
            raise UsageError(f"{place}: {type(component).__name__} follows the weights of each step, which {where}")
    if state.ranks.shards == 1:
        state.average = whole
        return
    if cast(GeneratorLoss, state.components["generator_loss"]).whole_weights:
        method = f"generator_loss {state.recipe.generator_loss.name!r}"
        raise UsageError(f"{method} asks for gradients of whole weights: ranks have pieces (--shard)")
    batch, micro = state.batch, state.recipe.run.micro_batch
    held = state.ranks.counts(batch, micro, state.group)
    if micro is not None and len(set(held)) > 1:  # in each pass all lend their pieces
        raise UsageError(
            f"run.micro_batch = {micro} makes {batch // micro} passes, which {len(held)} processes cannot share "
            "equally, as those that share networks (--shard) must"
        )


def check_turns(state: State) -> None:
    """Raises PluginError for a turn that `setup` declared and nobody could take."""
    for turn in state.turns:
        known: dict[str, Collection[str]] = {"trains": state.networks, "losses": ("critic_loss", "generator_loss")}
        for what, names in known.items():
            unknown = [name for name in getattr(turn, what) if name not in names]
            if unknown:
                raise PluginError(f"turn {turn.name!r}: {what} has {unknown[0]!r}; those here: {', '.join(names)}")


def default_turns(state: State) -> list[Turn]:
    """The critics that have no turn yet, then the generator."""
    taken = {"generator", *(name for turn in state.turns for name in turn.trains)}
    critics = tuple(name for name in state.networks if name not in taken)
    generator = Turn(name="generator", trains=("generator",), losses=("generator_loss",))
    # Critics first, as in the algorithms of SiD and Diff-Instruct: the generator's loss asks the newest ones.
    return [Turn(name="critic", trains=critics), generator] if critics else [generator]


def frozen_names(network: nn.Module, patterns: tuple[str, ...]) -> frozenset[str]:
    names = [name for name, _ in network.named_parameters()]
    unused = [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in names)]
    # A pattern that fits nothing is a misspelt one: all would train, and nobody would see it.
    if unused:
        raise UsageError(f"generator.freeze: no parameter is named like {unused[0]!r}; one is {names[0]!r}")
    frozen = frozenset(name for name in names if any(fnmatch(name, pattern) for pattern in patterns))
    if len(frozen) == len(names):
        raise UsageError("generator.freeze freezes every parameter: nothing would train")
    return frozen
