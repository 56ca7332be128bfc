"""What the keys of a Config mean: the comments beside its fields, or the strings below them, read from its source."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from functools import cache
from itertools import pairwise

_PRAGMA = re.compile(r"(type: ignore|noqa|fmt:|pragma:)[^#]*(# *|$)")  # words for tools


def meanings(cls: type) -> dict[str, str]:
    """Name of attribute -> its meaning, of an attrs class and of those it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        found |= {name: text for name, text in _own(base).items() if text or name not in found}
    return found


@cache
def _own(cls: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # made in a console, or frozen
        return {}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    (body,) = (node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    found = {}
    for node, below in pairwise([*body, ast.Pass()]):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            beside = comments.get(node.end_lineno or 0) or comments.get(node.lineno, "")
            found[node.target.id] = _PRAGMA.sub("", beside).strip() or _string(below)
    return found


def _string(node: ast.stmt) -> str:
    """A string that stands alone, as one line."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""
