"""One table explained on a screen: what it is for, and its keys with types, defaults and meanings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from distillkit.explain import Key, Page, default_text, type_text
from distillkit.recipe.write import value_text

IN_NO_RECIPE = ("launch", "command")  # kinds that the command line names


def screen(page: Page, installed: Sequence[str] = ()) -> RenderableType:
    """What a person needs to write the table; `installed` can follow `use =`."""
    head = Text.assemble(
        (page.name, "bold cyan"), f"  {page.kind or 'table of the engine'}", (f"  {page.origin}", "dim")
    )
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("key", style="cyan", no_wrap=True)
    for name in ("type", "default", "meaning"):
        table.add_column(name, overflow="fold")
    if page.kind and page.kind not in IN_NO_RECIPE:
        names = f"installed: {', '.join(installed)}" if installed else "the name of this component"
        table.add_row("use", "string", "required" if installed else f'"{page.name}"', names)
    for row in rows(page.keys, page.deep):
        table.add_row(*row)
    below = [Text(f"sets  {line}", "dim") for line in _lines(page.sets)]
    keys = [table] if table.row_count else []
    text = Padding(Text(reflowed(page.text or "(no docstring)")), (1, 0, 1, 0))
    return Group(head, text, *keys, *below, *curves(page.curves), Text())


def curves(told: Mapping[str, str]) -> list[RenderableType]:
    """What a loss logs, as its run's page says it."""
    if not told:
        return []
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("curve", style="cyan", no_wrap=True)
    table.add_column("what it says", overflow="fold")
    for sentence in dict.fromkeys(told.values()):
        table.add_row("\n".join(name for name, said in told.items() if said == sentence), sentence)
    return [Text(), table]


def rows(keys: Sequence[Key], deep: bool = True, above: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Key, type, default and meaning; the keys of tables within are below those."""
    for key in keys:
        yield f"{above}{key.name}", type_text(key), default_text(key), key.meaning
        if deep:
            yield from rows(key.keys, deep, f"{above}{key.name}.")


def _lines(sets: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in sets.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{above}{name}.")
        else:
            yield f"{above}{name} = {value_text(value)}"


def reflowed(text: str) -> str:
    """Paragraphs as one line each, for any width; lists and indented lines stay."""
    return re.sub(r"(?<=\S)\n(?=[^\s*|-])", " ", text)
