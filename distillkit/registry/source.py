"""The first line of a class docstring, read from the source file without importing anything."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from pathlib import Path


def find_source(module: str, roots: Iterable[str]) -> Path | None:
    """The file of a dotted module under the first root that has it.

    `importlib.util.find_spec` would import the parent packages.
    """
    relative = Path(*module.split("."))
    for root in roots:
        for candidate in (relative.with_suffix(".py"), relative / "__init__.py"):
            if (Path(root) / candidate).is_file():
                return Path(root) / candidate
    return None


def summary(target: str, roots: Iterable[str] = ()) -> str:
    """First docstring line of "module:Class"; empty where there is none, and the reason where the file is broken."""
    module, _, name = target.partition(":")
    path = find_source(module, [*sys.path, *roots])
    if path is None:
        return ""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"(source cannot be read: {type(error).__name__})"
    wanted = name.rpartition(".")[2]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            return (ast.get_docstring(node) or "").partition("\n")[0].strip()
    return ""
