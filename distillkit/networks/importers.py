"""Which importer reads a file: all that read its suffix are asked in turn, by name and distribution."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import cast

from attrs import frozen

from distillkit.api import Importer, InputError, PluginError
from distillkit.registry import Catalog, Offer

FOLDER = "folder"  # stands for a suffix: of a folder


@frozen
class Reader:
    """The importer of a file, and what offers it."""

    offer: Offer
    importer: Importer


def suffix(offer: Offer) -> str:
    """What files end with that it reads, without the dot: "pt" of "pt" and of "mine.pt"."""
    return offer.name.rpartition(".")[2]


def suffixes(catalog: Catalog) -> list[str]:
    """What files end with that importers here read, with the dot."""
    return sorted({f".{suffix(offer)}" for offer in catalog.of("importer")} - {f".{FOLDER}"})


def offers(path: Path, catalog: Catalog) -> list[Offer]:
    """Importers of the file's suffix, in the order in which they are asked; nothing is imported."""
    wanted = FOLDER if path.is_dir() else path.suffix.removeprefix(".").lower()
    return [offer for offer in catalog.of("importer") if suffix(offer) == wanted]


def load(offer: Offer) -> Importer:
    """The importer. Raises PluginError."""
    cls = cast(type[Importer], offer.load())
    return cls(cls.Config())


def reader(path: Path, catalog: Catalog) -> Reader:
    """Who reads the file: the only one for its suffix, or the first who does not decline it.

    Raises InputError where nobody does, with what each said; warns where several would.
    """
    asked = offers(path, catalog)
    if not asked:
        read = ", ".join(suffixes(catalog)) or "no foreign files: pip install distillkit-edm"
        raise InputError(f"{path}: no network; a result folder is one, and importers here read {read}")
    if len(asked) == 1:  # it says better what is wrong with a file, when it reads it
        return Reader(asked[0], load(asked[0]))
    takes, takes_all, said = _answers(path, asked)
    # Who looked counts before who takes whatever has the suffix.
    if not (found := takes or takes_all):
        raise InputError(f"{path}: nothing here reads it: {'; '.join(said)}")
    if len(found) > 1:
        others = ", ".join(_named(each.offer) for each in found[1:])
        warnings.warn(
            f"{path} is read by {_named(found[0].offer)}; so would {others}: DISTILLKIT_DISABLE leaves one out",
            stacklevel=2,
        )
    return found[0]


def _answers(path: Path, asked: list[Offer]) -> tuple[list[Reader], list[Reader], list[str]]:
    """Who takes it after a look, who takes all files of its suffix, and what the others said."""
    takes: list[Reader] = []
    takes_all: list[Reader] = []
    said: dict[str, list[str]] = {}  # the same of several is told once
    for offer in asked:
        try:
            importer = load(offer)
        except PluginError as error:  # one that is broken leaves files to the others
            said.setdefault(str(error), [])
            continue
        why = importer.declines(path)
        if why:
            said.setdefault(why, []).append(_named(offer))
        else:
            (takes_all if why is None else takes).append(Reader(offer, importer))
    return takes, takes_all, [f"{', '.join(names)}: {why}" if names else why for why, names in said.items()]


def _named(offer: Offer) -> str:
    return f"{offer.name} of {offer.dist}"
