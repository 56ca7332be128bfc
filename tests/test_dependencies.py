"""A plugin declares the distributions that its code imports."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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
