"""The student's network as its run begins: whose weights, in which form, with which adapters."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import nn

from distillkit import noise
from distillkit.api import Denoiser, GeneratorLoss, Rebuildable, UsageError
from distillkit.networks import network_file
from distillkit.networks.transplant import Allowed, transplant
from distillkit.recipe.schema import Generator
from distillkit.registry import Catalog
from distillkit.train import shared
from distillkit.train.state import State


def make_generator(state: State, catalog: Catalog) -> Denoiser:
    """The student's network with its initial weights."""
    network = base = started(state, catalog)
    network_file.check_shape(network, state.dataset, "generator", state.layout.size)
    network = state.with_dropout(network)
    if changes := cast(GeneratorLoss, state.components["generator_loss"]).network_keys:
        method = f"generator_loss {state.recipe.generator_loss.name!r}"
        with torch.random.fork_rng(devices=[]):  # new inputs' weights, whatever drew numbers before
            torch.manual_seed(noise.fold(state.seed, "generator", "keys"))
            network = network_file.with_config(network_file.carded(network, method), changes, catalog, method)
    network.compute_dtype = state.compute_dtype  # copies of it inherit it
    network = network.to(state.device, state.dtype)
    if adapter := state.recipe.generator.adapter:
        shared.adapt(adapter, shared.like(network, base), state.seed, number=0)
    return network.requires_grad_(True)


def started(state: State, catalog: Catalog) -> Denoiser:
    """The network that [generator] starts from, in the form that it asks for."""
    table, dataset = state.recipe.generator, state.dataset
    shape = dataset.resolution, dataset.channels, state.layout.size
    if not table.checkpoint and table.init == "scratch":
        # By name: initial weights do not depend on what else drew numbers before.
        torch.manual_seed(noise.fold(state.seed, "generator", "init"))
        assert table.network is not None, "the recipe was checked"
        return network_file.new_network(table.network, *shape)
    network = state.load_network(table.checkpoint) if table.checkpoint else taught(state)
    if table.adapter:
        shared.freeze(network.to(state.device, state.dtype))
    form, keys = None if table.checkpoint else table.network, dict(table.network_keys)
    if form is None and state.layout.guidance and network.label_dim == state.layout.size - 1:
        keys = {"guidance": True} | keys  # the scale that each image comes with
    if keys:
        known = network_file.carded(network, "generator.network_keys")
        form = network_file.changed(known, keys, catalog, "generator.network_keys")
    if form is None:
        if named := table.new_weights + table.unused_weights:
            raise UsageError(f"generator: {named[0]!r} is allowed to differ, but the student has the same form")
        return network
    torch.manual_seed(noise.fold(state.seed, "generator", "init"))
    made = network_file.new_network(form, *shape)
    allowed = Allowed(new=table.new_weights, unused=table.unused_weights)
    transplant(network.state_dict(), cast(nn.Module, made), allowed, f"generator: {form.name!r} from these weights")
    return shared.like(made, network) if table.adapter else made


def taught(state: State) -> Denoiser:
    """The teacher's network. Raises UsageError for a teacher that has none."""
    if state.teacher is None or state.teacher.network is None or state.recipe.teacher_score is None:
        raise UsageError(
            'generator.init = "teacher", but this teacher_score is no network; '
            'write init = "scratch" and a [generator.network]'
        )
    return network_file.carded(state.teacher.network, f"teacher_score {state.recipe.teacher_score.name!r}")


def copied(state: State, network: Denoiser, catalog: Catalog) -> Denoiser:
    """A copy with the dropout of [generator], which takes the scale of guidance where images come with their own."""
    if state.layout.guidance and network.label_dim == state.layout.size - 1:
        where = "a network that starts as the teacher and takes the scale of guidance"
        form = network_file.changed(network_file.carded(network, where), {"guidance": True}, catalog, where)
        dataset = state.dataset
        with torch.random.fork_rng(devices=[]):  # what is drawn for the further input stays nobody else's concern
            torch.default_generator.manual_seed(noise.fold(state.seed, "guidance", len(state.networks)))
            made = network_file.new_network(form, dataset.resolution, dataset.channels, state.layout.size)
        transplant(network.state_dict(), cast(nn.Module, made), Allowed(), where)
        network = shared.like(made.to(state.device, state.dtype), network)
    return with_dropout(network, state.recipe.generator, catalog)


def with_dropout(network: Denoiser, table: Generator, catalog: Catalog) -> Denoiser:
    """A copy; a dropout of 0 is also that of networks which have none."""
    keys = {"dropout": table.dropout, "dropout_resolution": table.dropout_resolution}
    # A card may hold the dropout that a teacher was trained with: then 0 is a change, and is made.
    if table.dropout == 0 and not (isinstance(network, Rebuildable) and "dropout" in network.card["network"]):
        del keys["dropout"]
    changes = {key: value for key, value in keys.items() if value is not None}
    if not changes:
        return copy.deepcopy(network)
    where = ", ".join(f"generator.{key}" for key in changes)
    return network_file.with_config(network_file.carded(network, where), changes, catalog, where)
