"""One component outside a recipe, such as the network that a result was made with."""

from __future__ import annotations

from typing import Any

from distillkit.api import Choice, InputError
from distillkit.recipe.problem import Key, key_text
from distillkit.recipe.structure import Structure
from distillkit.registry import Catalog


def choice_from_table(kind: str, table: dict[str, Any], catalog: Catalog, where: str) -> Choice[Any]:
    """A table with `use` -> Choice, as strictly as in a recipe. Raises InputError naming `where` it was found."""
    problems: list[str] = []

    def report(key: Key, message: str, hint: str) -> None:
        problems.append(f"{key_text(key)} {message}" + (f" ({hint})" if hint else ""))

    choice = Structure(catalog, report).choice(table, kind, (kind,))
    if problems:
        raise InputError(f"{where}: {'; '.join(problems)}")
    return choice
