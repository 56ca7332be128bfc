"""The head of the page: the run's name, how it ended, how far it came."""

from __future__ import annotations

from html import escape

from distillkit.show import formats
from distillkit.show.saved import Saved


def header(name: str, run: Saved) -> str:
    """The page's first element, with its only h1."""
    facts = [_status(run)]
    facts += _progress(run) if run.rows else []
    made = str(run.info.get("created", ""))
    facts += [f"started {escape(made[:16].replace('T', ' '))} UTC"] if made else []
    return f'<header><h1>{escape(name)}</h1>\n<p class="sub">{" &middot; ".join(facts)}</p></header>'


def _status(run: Saved) -> str:
    code, reason = run.end.get("code"), run.end.get("reason", "")
    if code == 0 and reason == "collapsed":
        return '<span class="failed">collapsed</span>'
    if code == 0:
        return '<span class="done">finished</span>'
    if code is None:
        return "not finished"
    return f'<span class="failed">ended with code {escape(str(code))}</span> {escape(str(reason))}'


def _progress(run: Saved) -> list[str]:
    facts = [f"{formats.kimg(run.rows[-1]['nimg'])} kimg"]
    if isinstance(run.rows[-1].get("seconds"), int | float):
        facts.append(formats.duration(run.rows[-1]["seconds"]))
    skipped = max((row["skipped"] for row in run.rows if type(row.get("skipped")) is int), default=0)
    if skipped:
        facts.append(f'<span class="failed">updates skipped (not finite): {skipped}</span>')
    return facts
