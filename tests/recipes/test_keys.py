"""A key that the first release did not have is no reason for another fingerprint.

keys.json holds the keys of the first release by table. One that is not in it says with which value all is as it was
before, by `field(..., metadata=added_later(as_before=...))`, or that it changes no bits, by `metadata=NO_BITS`; a key
whose default is None needs neither. A component that keys.json does not know is new, and may have what keys it likes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest

from distillkit.api import KINDS, NO_BITS, Choice, added_later, field, frozen
from distillkit.api.keys import AS_BEFORE, changes_bits, names_file
from distillkit.api.slots import SLOTS
from distillkit.recipe.keys import default, fields
from distillkit.recipe.schema import Tables
from distillkit.registry import Catalog

FILE = Path(__file__).with_name("keys.json")


def keys(cls: type, before: str = "") -> Iterator[tuple[str, attrs.Attribute[Any]]]:
    """The keys of a table and of the tables in it, a component's apart."""
    for key, attribute in fields(cls).items():
        yield before + key, attribute
        for type_ in (attribute.type, *get_args(attribute.type)):
            if isinstance(type_, type) and attrs.has(type_) and type_ is not Choice:
                yield from keys(type_, f"{before}{key}.")


def tables() -> dict[str, dict[str, attrs.Attribute[Any]]]:
    """Table -> its keys: of the engine, of every kind, of every component of ours."""
    found = {"": dict(keys(Tables))}
    found |= {kind: dict(keys(SLOTS[kind])) for kind in KINDS}
    offers = [offer for offer in Catalog.installed().offers if offer.dist.partition("-")[0] == "distillkit"]
    return found | {f"{offer.kind}/{offer.name}": dict(keys(offer.load().Config)) for offer in offers}


def undeclared(known: dict[str, list[str]], found: dict[str, dict[str, attrs.Attribute[Any]]]) -> list[str]:
    """Keys that would change the fingerprint of a recipe which is silent about them."""
    return [
        f"{table}.{key}".lstrip(".")
        for table in known.keys() & found.keys()
        for key, attribute in found[table].items()
        if not (key in known[table] or covered(key, known[table], found[table]))
        and not (default(attribute) is None or AS_BEFORE in attribute.metadata or not changes_bits(attribute))
    ]


def covered(key: str, known: list[str], found: dict[str, attrs.Attribute[Any]]) -> bool:
    """Is it in a table that is new as a whole?"""
    table = key.rpartition(".")[0]
    return bool(table) and table not in known


def test_every_later_key_says_what_it_was_before() -> None:
    assert not undeclared(json.loads(FILE.read_text()), tables())


def test_one_that_does_not_is_found() -> None:
    @frozen
    class Config:
        old: int = 1
        later: int = field(default=2, metadata=added_later(as_before=2))
        shown: int = field(default=2, metadata=NO_BITS)
        optional: int | None = None
        forgotten: int = 2

    assert undeclared({"a": ["old"]}, {"a": dict(keys(Config)), "b": dict(keys(Config))}) == ["a.forgotten"]


@pytest.mark.parametrize("table", ["", "auxiliary_loss", "generator_loss/sid", "auxiliary_loss/embedding"])
def test_the_list_is_of_keys_that_there_are(table: str) -> None:
    known = json.loads(FILE.read_text())[table]
    assert known and set(known) <= set(tables()[table])


def test_a_key_of_free_text_names_a_file() -> None:
    """What a run reads is noted by these keys: one that is not marked as FILE would be read without a word."""
    catalog = Catalog.installed()
    unmarked = [
        f"{offer.kind}/{offer.name}: {key}"
        for offer in catalog.offers
        for key, one in fields(catalog.load(offer.kind, offer.name).Config).items()
        if str in (one.type, *get_args(one.type)) and one.validator is None and not names_file(one)
        if offer.kind not in ("launch", "logger")  # which decide nothing of a result
    ]
    assert not unmarked


def test_path_and_checkpoint_name_files_in_plugins_of_before() -> None:
    @frozen
    class Config:
        path: str
        checkpoint: str
        mode: str

    assert [names_file(one) for one in attrs.fields(Config)] == [True, True, False]
