"""One component outside a recipe, such as the network that a result was made with."""

from __future__ import annotations

from typing import Any

from distillkit.api import KINDS, Choice, InputError
from distillkit.recipe.problem import key_text
from distillkit.recipe.structure import converter
from distillkit.recipe.values import Misfit
from distillkit.registry import Catalog


def choice_from_table(kind: str, table: dict[str, Any], catalog: Catalog, where: str) -> Choice[Any]:
    """A table with `use` -> Choice, as strictly as in a recipe. Raises InputError naming `where` it was found."""
    kinds: Any = KINDS
    try:
        return converter(catalog).structure(table, Choice[kinds[kind]])
    except Misfit as misfit:
        texts = [
            f"{key_text((kind, *key))} {message}" + (f" ({hint})" if hint else "")
            for key, message, hint in misfit.complaints
        ]
    raise InputError(f"{where}: {'; '.join(texts)}")
