"""How the numbers were measured, by evaluate component."""

from __future__ import annotations

from html import escape

from distillkit.show.saved import Saved
from distillkit.show.sections import facts as of


def facts(run: Saved) -> str:
    """A heading and a table for each component."""
    found = run.scores.protocol
    return "\n".join(
        f"<h3>{escape(name)}</h3>\n{of.table(facts, f'How {name} was measured')}" for name, facts in found.items()
    )
