"""The verdict in words, with what stands behind it."""

from __future__ import annotations

import shlex
from html import escape

from distillkit.show import verdict
from distillkit.show.saved import Saved


def of(run: Saved) -> str:
    """A line under the page's title; what it rests on can be opened."""
    found = verdict.judged(run)
    line = f'<p class="verdict {found.level}">{escape(found.text)}</p>'
    if run.status == "running":
        live = shlex.join(["distillkit", "watch", str(run.path)])
        line += (
            f'\n<p class="note">As it was when this page was written; <code>{escape(live)}</code> shows it live.</p>'
        )
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in found.reasons)
    return f"{line}\n<details><summary>what this rests on</summary><ul>{reasons}</ul></details>" if reasons else line
