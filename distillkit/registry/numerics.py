"""What stands for the bits that a distribution computes: `NUMERICS` of its package, read without importing it.

Versions change with every release, bits seldom and on purpose. Where nothing is declared the version has to do.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from distillkit.registry.source import find_source

NAME = "NUMERICS"
FIRST = "0.1.0"  # what 1 stands for: fingerprints of the first release held that version


def declared(module: str, roots: Iterable[str] = ()) -> int | None:
    """The whole number that the outermost package of a dotted module assigns to NUMERICS, or one inside it does.

    None where none does. Raises ValueError for what is no whole number from 1.
    """
    names = module.split(".")
    for length in range(1, len(names) + 1):
        path = find_source(".".join(names[:length]), [*sys.path, *roots])
        found = None if path is None else _assigned(path, path.stat().st_mtime_ns)
        if found is not None:
            return found
    return None


def token(number: int | None, version: str) -> str:
    """What fingerprints hold of a distribution."""
    if number is None:
        return version
    return FIRST if number == 1 else f"numerics {number}"


def at_first(found: str) -> str:
    """What `token` was of the same distribution before any bits of it changed."""
    return FIRST if found.startswith("numerics ") else found


def own_numerics() -> str:
    """Of distillkit itself."""
    import distillkit

    return token(distillkit.NUMERICS, distillkit.__version__)


@cache
def _assigned(path: Path, changed: int) -> int | None:
    """`changed`: another file has another answer."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # importing it says what is wrong
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == NAME for target in targets):
            value = node.value.value if isinstance(node.value, ast.Constant) else None
            if type(value) is not int or value < 1:
                raise ValueError(f"{NAME} in {path} must be a whole number from 1")
            return value
    return None
