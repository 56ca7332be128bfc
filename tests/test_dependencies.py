"""A plugin declares the distributions that its code imports, and those that its defaults name."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from packaging.requirements import Requirement

from distillkit.api import Choice, Use
from distillkit.registry import Catalog

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
CALLED = {"PIL": "pillow", "sklearn": "scikit-learn"}  # modules of another name than their distribution


def imported(node: ast.AST, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """(top-level module, is it imported in a function?) of all that a syntax tree imports."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name.partition(".")[0], inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield (child.module or "").partition(".")[0], inside
        else:
            yield from imported(child, inside or isinstance(child, ast.FunctionDef))


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_what_is_imported_is_declared(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    optional = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
    needed = {Requirement(line).name for line in project["dependencies"]}
    package = project["name"].replace("-", "_")
    missing = set()
    for path in (folder / package).rglob("*.py"):
        for module, inside in imported(ast.parse(path.read_bytes())):
            if module in sys.stdlib_module_names or module == package:
                continue
            allowed = needed | {Requirement(line).name for line in optional} if inside else needed
            if CALLED.get(module, module.replace("_", "-")) not in allowed:
                missing.add(f"{path.relative_to(folder)}: {module}")
    assert not missing, sorted(missing)


def chosen(type_: Any) -> Iterator[str]:
    """Kinds of the components that a value of this type picks."""
    if getattr(type_, "__origin__", None) is Choice:
        yield get_args(type_)[0].kind
    for inner in get_args(type_):
        yield from chosen(inner)


def named_by_default(config: type) -> Iterator[tuple[str, str]]:
    """(kind, name) of every component that a default of the Config names."""
    types = get_type_hints(config)
    for one in attrs.fields(config):
        value = one.default.factory() if isinstance(one.default, attrs.Factory) else one.default
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, Use):
                (kind,) = chosen(types[one.name])
                yield kind, part.name


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_what_a_default_names_is_declared(folder: Path) -> None:
    project, catalog = tomllib.loads((folder / "pyproject.toml").read_text())["project"], Catalog.installed()
    there = {project["name"], "distillkit", *(Requirement(line).name for line in project["dependencies"])}
    missing = [
        f"{offer.name}: {kind} {name!r} of {catalog.find(kind, name).dist}"
        for offer in catalog.offers
        if offer.dist == project["name"]
        for kind, name in named_by_default(offer.load().Config)
        if catalog.find(kind, name).dist not in there
    ]
    assert not missing


def test_the_search_for_defaults_finds_them() -> None:
    catalog = Catalog.installed()
    found = {pair for offer in catalog.offers for pair in named_by_default(offer.load().Config)}
    assert {("kernel", "rbf"), ("embedding", "convnet"), ("features", "digits-classifier"), ("sample", "heun")} <= found
