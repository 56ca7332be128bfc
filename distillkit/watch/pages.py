"""The pages of `distillkit watch`: all runs, and one run with its report inside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources

from distillkit.api.printable import printable
from distillkit.show import formats
from distillkit.watch.look import Look

HEADS = "run", "state", "images", "left", "metric", "teacher", "floor"
GOOD, BAD = ("finished", "running"), ("collapsed", "diverged", "failed", "damaged")
# Everything comes from this server, and nothing else may show or read it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; img-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def listed(looks: Sequence[Look], folder: str) -> str:
    """The page of all runs in a folder."""
    heads = "".join(f'<th scope="col">{name}</th>' for name in HEADS)
    body = f"""<header><h1>Runs</h1><p class="sub">{escape(folder)}</p></header>
<main><div class="scroll"><table><thead><tr>{heads}</tr></thead>
<tbody id="live" data-url="rows">{rows(looks)}</tbody></table></div></main>"""
    return whole("Runs", body, "", "all")


def rows(looks: Sequence[Look]) -> str:
    """The lines of that table."""
    return "\n".join(map(_row, looks)) or '<tr><td colspan="7">no runs here yet</td></tr>'


def _row(look: Look) -> str:
    cells = {
        "run": f'<a href="runs/{escape(look.name)}/">{escape(look.name)}</a>', "state": _status(look),
        "images": _progress(look), "left": _left(look), "metric": _value(look.value, look.metric),
        "teacher": _value(look.teacher), "floor": _value(look.floor),
    }  # fmt: skip
    named = ("left", "teacher", "floor")  # what a phone, which has no heads, would not tell
    told = (f"<td{f' data-name={name}' * (name in named)}>{text}</td>" for name, text in cells.items())
    return f"<tr>{''.join(told)}</tr>"


def one(look: Look) -> str:
    """The page of one run: a line that is kept fresh over its report."""
    body = f"""<header class="bar"><a href="../../">all runs</a>
<span id="live" data-url="head">{head(look)}</span></header>
<main><iframe title="report of {escape(look.name)}" src="report"></iframe></main>"""
    return whole(look.name, body, "../../", "one")


def head(look: Look) -> str:
    """That line; its `data-version` changes when the report does."""
    parts = [f"<strong>{escape(look.name)}</strong>", _status(look), _progress(look)]
    parts += [f"{_left(look)} left"] if look.left is not None else []
    parts += [_value(look.value, look.metric)] if look.value is not None else []
    return f'<span data-version="{escape(look.version)}">{" &middot; ".join(parts)}</span>'


def _status(look: Look) -> str:
    kind = "done" if look.status in GOOD else "failed" if look.status in BAD else ""
    return f'<span class="{kind}">{escape(look.status)}</span>'


def _progress(look: Look) -> str:
    told = f"{formats.kimg(look.nimg)} of {formats.kimg(look.total)} kimg"
    rate = f", {formats.rate(look.rate)} img/s" if look.rate and look.status == "running" else ""
    return f'<progress max="1" value="{look.progress:.4f}" aria-label="{told}"></progress> {told}{rate}'


def _left(look: Look) -> str:
    return "" if look.left is None else formats.duration(look.left)


def _value(value: float | None, name: str = "") -> str:
    if value is None:
        return ""
    return f"{escape(name)} {formats.number(value)}".strip()


def whole(title: str, body: str, up: str, css: str) -> str:
    """A whole page; styles and script are files of the server, `up` is the way to them."""
    return printable(f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<noscript><meta http-equiv="refresh" content="10"></noscript>
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{up}page.css">
<script src="{up}watch.js" defer></script>
</head>
<body class="{css}">
{body}
</body>
</html>
""")


def styles() -> str:
    """Those of reports, and what these pages have beside."""
    show = resources.files("distillkit.show").joinpath("page.css").read_text(encoding="utf-8")
    return show + resources.files("distillkit.watch").joinpath("watch.css").read_text(encoding="utf-8")


def script() -> str:
    return resources.files("distillkit.watch").joinpath("watch.js").read_text(encoding="utf-8")
