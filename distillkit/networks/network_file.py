"""A network on disk: student.safetensors beside student.json, which says how to build and how to sample it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Protocol, cast

import attrs
import safetensors
import safetensors.torch
import torch
from torch import nn

from distillkit.api import Choice, Dataset, Denoiser, InputError, Network, PluginError, Rebuildable, UsageError
from distillkit.disk.files import floats, write_atomic, write_json
from distillkit.disk.manifest import vouched
from distillkit.disk.remembered import instead
from distillkit.disk.rundir import check_maker
from distillkit.networks import bounded
from distillkit.networks import card as cards
from distillkit.networks.transplant import Allowed, transplant
from distillkit.recipe import choice_from_table, table_of
from distillkit.registry import Catalog

WEIGHTS, CARD = "student.safetensors", "student.json"
SHAPE = ("channels", "resolution", "label_dim")
ATTRIBUTES = "what a network needs is in docs/plugins.md, Networks"


class Carded(Denoiser, Rebuildable, Protocol):
    """A network that remembers how it was made."""


def new_network(choice: Choice[Network], resolution: int, channels: int, label_dim: int) -> Carded:
    """A network of random weights with a card, for `save` and `with_config`."""
    network = cast(Carded, choice.build().module(resolution, channels, label_dim))
    network.card = {
        "network": table_of(choice), "resolution": resolution, "channels": channels, "label_dim": label_dim,
    }  # fmt: skip
    return network


def save(folder: Path, network: Carded, facts: dict[str, Any]) -> None:
    """Write the network and what its users must know: sampler, images seen, recipe, versions."""
    folder.mkdir(exist_ok=True)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    write_atomic(folder / WEIGHTS, safetensors.torch.save(tensors))
    write_json(folder / CARD, {"format": 1, **network.card, **facts})


def files(path: Path) -> tuple[Path, Path]:
    """Weights and card of a result folder, a run folder, or a .safetensors file."""
    if path.is_dir() and (path / "result").is_dir():
        path = path / "result"
    elif (path / "run.json").is_file():
        raise InputError(f"{path} has no student yet: distillkit run --resume {path} goes on with it")
    elif path.suffix == ".toml":
        raise InputError(f"{path} is a recipe: distillkit run {path} makes a student")
    weights = path / WEIGHTS if path.is_dir() else path
    card = weights.with_suffix(".json")
    for file in (weights, card):
        if not file.is_file():
            told = f"{file} is missing; a network is a result folder with {WEIGHTS} and {CARD}"
            raise InputError(f"{told}{instead(path)}")
    return weights, card


def read_card(path: Path) -> dict[str, Any]:
    """The card of a network. Raises InputError if it is missing, damaged, of another kind or of another run."""
    card = checked_card(files(path)[1])
    return card | {key: floats(card[key]) for key in ("network", "sample") if key in card}  # sigma_max = inf


def checked_card(file: Path) -> dict[str, Any]:
    """A card as its file has it. Raises InputError as `read_card`."""
    vouched(file)
    try:
        if file.stat().st_size > cards.LARGEST:
            raise ValueError(f"{file.stat().st_size} bytes, at most {cards.LARGEST}")
        card: dict[str, Any] = json.loads(file.read_bytes())
        wrong = cards.wrong(card)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{file}: not the card of a network ({type(error).__name__}: {error})") from error
    if wrong or card["format"] != 1:
        raise InputError(f"{file}: not a card this version reads (wrong: {', '.join(wrong) or 'format'})")
    if "fingerprint" in card:
        check_maker(file, card["fingerprint"])
    return card


def load_network(path: Path, catalog: Catalog) -> Carded:
    """The network of a result folder or student.safetensors, in evaluation mode, without gradients.

    Raises InputError if files are missing, damaged, or do not fit each other.
    """
    weights, _ = files(path)
    card = read_card(path)
    if not vouched(weights) and (weights.parents[1] / "run.json").is_file():
        warnings.warn(f"{weights} is of distillkit 0.1.0 and has no manifest: it is not checked", stacklevel=2)
    choice = choice_from_table("network", card["network"], catalog, where=str(path))
    shape = (card["resolution"], card["channels"], card["label_dim"])
    bounded.check(lambda: new_network(choice, *shape), weights)
    try:
        with torch.random.fork_rng(devices=[]):
            network = new_network(choice, *shape)
    except (RuntimeError, ValueError, ArithmeticError, MemoryError, UsageError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise InputError(f"{weights.with_suffix('.json')}: no network can be made of this card: {reason}") from error
    try:
        tensors = safetensors.torch.load_file(weights)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{weights}: damaged ({error})") from error
    if sick := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise InputError(f"{weights}: {sick[0]} holds numbers that are not finite")
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise InputError(
            f"{weights} does not fit {card['network']['use']!r} of its card: {lines[-1].strip()}"
        ) from error
    return network.eval().requires_grad_(False)


def check_shape(network: Denoiser, dataset: Dataset, table: str, label_dim: int) -> None:
    """Raises UsageError unless the network makes images like the data set's, of labels [N,label_dim]."""
    missing = [name for name in SHAPE if not hasattr(network, name)]
    if missing:
        raise PluginError(f"{table}: {type(network).__name__} has no attribute {missing[0]!r}; {ATTRIBUTES}")
    got = (network.channels, network.resolution, network.label_dim)
    want = (dataset.channels, dataset.resolution, label_dim)
    if got != want:
        words = "{} channels, {} px, {} labels"
        more = ", with the guidance scale" if label_dim > dataset.label_dim else ""
        told = f"the network is for {words.format(*got)}; the data set has {words.format(*want)}{more}"
        raise UsageError(f"{table}: {told}")


def carded(network: Denoiser, where: str) -> Carded:
    """The network itself, if a result can be rebuilt from it. Raises PluginError that says what to add."""
    if not isinstance(network, Rebuildable):
        raise PluginError(
            f"{where}: nothing says how a copy of {type(network).__name__} is rebuilt from a file; let the Config "
            "name its architecture, a Choice[Network], and make it by state.new_network(choice) (docs/plugins.md, "
            'Networks). Without that it can teach another network: generator.init = "scratch"'
        )
    return cast(Carded, network)


def with_config(network: Carded, changes: dict[str, Any], catalog: Catalog, where: str) -> Carded:
    """The same weights in a network built with other keys; further inputs that add nothing yet may be new.

    Raises UsageError naming `where` they were asked for.
    """
    choice = choice_from_table("network", network.card["network"], catalog, where=where)
    unknown = [key for key in changes if not hasattr(choice.config, key)]
    if unknown:
        raise UsageError(f"{where}: the network {choice.name!r} has no key {unknown[0]!r}")
    try:
        choice = attrs.evolve(choice, config=attrs.evolve(choice.config, **changes))
    except ValueError as error:
        raise UsageError(f"{where}: the network {choice.name!r} cannot do that: {error.args[0]}") from error
    twin = new_network(choice, network.resolution, network.channels, network.label_dim)
    transplant(network.state_dict(), cast(nn.Module, twin), Allowed(), where)
    return twin


def changed(network: Carded, keys: dict[str, Any], catalog: Catalog, where: str) -> Choice[Network]:
    """The network's own architecture with other `keys`, as TOML has them. Raises UsageError naming `where`."""
    return cast(Choice[Network], choice_from_table("network", network.card["network"] | keys, catalog, where=where))
