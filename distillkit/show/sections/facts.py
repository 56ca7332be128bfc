"""A table of names and values, as several sections have it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any


def table(facts: Mapping[str, Any]) -> str:
    """Two columns; nothing where there are no facts."""
    rows = [f"<tr><td>{escape(str(key))}</td><td>{escape(str(value))}</td></tr>" for key, value in facts.items()]
    return f'<table class="facts">{"".join(rows)}</table>' if rows else ""
