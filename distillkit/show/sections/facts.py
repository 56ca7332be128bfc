"""A table of names and values, as several sections have it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any


def table(facts: Mapping[str, Any], caption: str) -> str:
    """Two columns under a caption that is heard and not seen; nothing where there are no facts."""
    rows = [
        f'<tr><th scope="row">{escape(str(key))}</th><td>{escape(str(value))}</td></tr>' for key, value in facts.items()
    ]
    told = f'<caption class="only-heard">{escape(caption)}</caption>'
    return f'<table class="facts">{told}<tbody>{"".join(rows)}</tbody></table>' if rows else ""
