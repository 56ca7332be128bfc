"""The sampler that a network is asked by where its card names none, or another: "heun steps=50"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillkit.api import Choice, InputError, Sample, UsageError
from distillkit.recipe import choice_from_table
from distillkit.recipe.layer import Layer, override
from distillkit.recipe.problem import Problem
from distillkit.registry import Catalog

Asked = str | Mapping[str, Any]  # "heun steps=50", or the table {"use": "heun", "steps": 50}


def choice(asked: Asked, catalog: Catalog) -> Choice[Sample]:
    """The sampler of that name with those keys. Raises UsageError for one that there is not, and for wrong keys."""
    try:
        return choice_from_table("sample", table(asked), catalog, "--sampler")
    except InputError as error:  # the user's own words, and no file
        raise UsageError(str(error)) from None


def table(asked: Asked) -> dict[str, Any]:
    """The table [sample] of a sampler as it is asked for: a name, then KEY=VALUE in TOML, apart by spaces."""
    if not isinstance(asked, str):
        return dict(asked)
    name, *settings = asked.split() or [""]
    layer = Layer({"sample": {"use": name}})
    for text in settings:
        over = override(layer, f"sample.{text}")
        if isinstance(over, Problem):
            raise UsageError(f'--sampler: "{text[:80]}" is not KEY=VALUE with a value of TOML; such as "heun steps=18"')
        layer = over
    found: dict[str, Any] = layer.data["sample"]
    return found
