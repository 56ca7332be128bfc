"""One component explained: its docstring, and the keys of its table with types, defaults and meanings."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
import typing
from typing import Any

import attrs
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from distillkit.api import Choice, Use
from distillkit.registry import Offer


def page(offer: Offer) -> RenderableType:
    """What a person needs to write the table of `offer`; imports its module."""
    cls = offer.load()
    head = Text.assemble((offer.name, "bold cyan"), f"  {offer.kind}", (f"  {offer.dist} {offer.version}", "dim"))
    doc = Text(_reflowed(inspect.cleandoc(cls.__doc__ or "(no docstring)")))
    return Group(head, Padding(doc, (1, 0, 1, 0)), _keys(cls, offer), Text())


def _keys(cls: Any, offer: Offer) -> RenderableType:
    rows = [row for config in (cls.Config, cls.Slot) for row in _rows(config)]
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("key", style="cyan", no_wrap=True)
    for name in ("type", "default", "meaning"):
        table.add_column(name, overflow="fold")
    table.add_row("use", "", f'"{offer.name}"', "")
    for row in rows:
        table.add_row(*row)
    return table


def _rows(config: type) -> list[tuple[str, str, str, str]]:
    comments = meanings(config)
    types = _types(config)
    return [
        (field.alias.rstrip("_"), kind(types[field.name]), _default(field), comments.get(field.name, ""))
        for field in attrs.fields(config)
    ]


def _types(config: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(config)
    except NameError:  # a name imported under TYPE_CHECKING only
        return {field.name: field.type for field in attrs.fields(config)}


def kind(annotation: Any) -> str:
    """A type as a recipe's author knows it: float, list of int, a table with `use`."""
    if isinstance(annotation, str):
        return annotation
    if annotation is type(None):
        return "none"
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if (origin or annotation) is Choice:
        return f"{inner[0].kind} table" if inner else "table"
    if origin in (tuple, list):
        return f"list of {kind(inner[0])}" if inner else "list"
    if inner:
        return " or ".join(kind(part) for part in inner if part is not type(None))
    return getattr(annotation, "__name__", str(annotation))


def _default(field: attrs.Attribute[Any]) -> str:
    default = field.default
    if default is attrs.NOTHING:
        return "required"
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory() if not default.takes_self else "computed"
    return _toml(default)


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Use):
        keys = "".join(f", {name} = {_toml(each)}" for name, each in value.keys.items())
        return f'{{ use = "{value.name}"{keys} }}'
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(each) for each in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _reflowed(text: str) -> str:
    """Paragraphs as one line each, for any width; lists and indented lines stay."""
    return re.sub(r"(?<=\S)\n(?=[^\s*|-])", " ", text)


def meanings(config: type) -> dict[str, str]:
    """The trailing comment of every field of a Config and of those it inherits from, from their sources."""
    found: dict[str, str] = {}
    for base in reversed(config.__mro__[:-1]):
        found |= {name: text for name, text in _comments(base).items() if text or name not in found}
    return found


def _comments(config: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(config))
    except (OSError, TypeError):
        return {}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    (body,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    fields = [node for node in body.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {
        node.target.id: comments.get(node.end_lineno or 0, comments.get(node.lineno, ""))  # type: ignore[union-attr]
        for node in fields
    }
