"""All shipped recipes, read once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from distillkit.recipe import Recipe, read
from distillkit.registry import Catalog

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="session")
def shipped() -> dict[str, Recipe]:
    """By name."""
    catalog = Catalog.installed()
    return {path.stem: read(path, catalog=catalog) for path in sorted(RECIPES.glob("*.toml"))}
