"""Every key of what ships has a meaning, and no word of Python reaches a person who asks for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest

from distillkit.explain import Key, Page, default_text, engine_pages, pages_of, type_text
from distillkit.registry import Catalog

PYTHON = re.compile(
    r"\b(None|True|False|tuple|dict|str|int|bool|float|Optional|Union|Choice|Use|Optimizer|NoneType)\b|\w\[\w"
    r"|<\w|\bnone:"  # a repr; "none" is a value of some keys, a key without a value is "unset"
)
PAGES, UNUSABLE = pages_of(Catalog.installed())
EVERYTHING = [*PAGES, *engine_pages().values()]


def told(keys: Sequence[Key], above: str = "") -> Iterator[tuple[str, Key]]:
    for key in keys:
        yield f"{above}{key.name}", key
        yield from told(key.keys, f"{above}{key.name}.")


@pytest.mark.parametrize("page", EVERYTHING, ids=lambda page: f"{page.kind or 'engine'}-{page.name}")
def test_every_key_is_explained_without_words_of_python(page: Page) -> None:
    prose = re.sub("`[^`]*`", "", page.text)  # how a file of a network is called is said in its own language
    assert prose and not re.search(r"\b(None|True|False)\b", prose)
    for name, key in told(page.keys):
        assert key.meaning, f"{name} has no meaning: a comment beside its field, or a string below it"
        for text in (type_text(key), default_text(key), key.meaning):
            assert not PYTHON.search(text), f"{name}: {text}"


def test_all_that_ships_is_looked_at() -> None:
    assert not UNUSABLE
    assert {page.kind for page in PAGES} >= {"dataset", "network", "generator_loss", "evaluate", "kernel", "features"}
    assert sum(1 for page in EVERYTHING for _ in told(page.keys)) > 500
