"""One self-contained HTML page: it loads nothing, runs nothing, and holds its pictures."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from html import escape
from importlib import resources
from pathlib import Path

from distillkit.api.printable import printable

# The page can load nothing and send nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"


def page(title: str, body: str, footer: str, css: str = "") -> str:
    """Put a whole page around `body`; title and footer are text, body is HTML, `css` comes after the common styles."""
    css = resources.files("distillkit.show").joinpath("page.css").read_text(encoding="utf-8") + css
    return printable(f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{css}</style>
</head>
<body>
{body}
<footer>{escape(footer)}</footer>
</body>
</html>
""")


def section(title: str, body: str) -> str:
    """Put a title over `body`, to which links lead by `anchor`; an empty body makes no section."""
    return f'<section id="{anchor(title)}"><h2>{escape(title)}</h2>\n{body}</section>' if body else ""


def anchor(title: str) -> str:
    """The name of a section in links."""
    return re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")


def nav(titles: Iterable[str]) -> str:
    """Links to the sections of those titles."""
    links = [f'<a href="#{anchor(title)}">{escape(title)}</a>' for title in titles]
    return f'<nav aria-label="Sections">{" ".join(links)}</nav>'


def pictures(folder: Path, pattern: str) -> list[Path]:
    """Files of that pattern, by name; no link, which would put what is elsewhere on a page that is given away."""
    return sorted(path for path in folder.glob(pattern) if path.is_file() and not path.is_symlink())


def picture(path: Path, caption: str, css: str = "", **facts: str) -> str:
    """Put the PNG at `path` into the page itself, under its caption; `facts` are for scripts."""
    data = base64.b64encode(path.read_bytes()).decode()
    told = escape(caption)
    more = "".join(f' data-{name}="{escape(value)}"' for name, value in facts.items())
    image = f'<img alt="{told}" src="data:image/png;base64,{data}">'
    return f'<figure class="{css}"{more}><figcaption>{told}</figcaption>{image}</figure>\n'
