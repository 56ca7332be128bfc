"""One self-contained HTML page: it loads nothing, runs one script of ours alone, and holds its pictures."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from html import escape
from importlib import resources
from pathlib import Path

from distillkit.api.printable import printable

SMALL, LARGER = 480, 4  # pixels across up to which a picture is enlarged, and how many times at most
SCRIPT = "axes.js", "draw.js", "page.js"  # in one


def policy(script: str) -> str:
    """The page can load nothing and send nothing, and runs what has the hash of `script`."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "form-action 'none'; base-uri 'none'"
    )


def page(title: str, body: str, footer: str, css: str = "") -> str:
    """Put a whole page around `body`; title and footer are text, body is HTML, `css` comes after the common styles."""
    css = _ours("page.css") + css
    script = '"use strict";\n(() => {\n' + "".join(map(_ours, SCRIPT)) + "})();\n"
    return printable(f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy(script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{css}</style>
</head>
<body>
{body}
<footer>{escape(footer)}</footer>
<script>{script}</script>
</body>
</html>
""")


def _ours(name: str) -> str:
    return resources.files("distillkit.show").joinpath(name).read_text(encoding="utf-8")


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
    read = path.read_bytes()
    data = base64.b64encode(read).decode()
    told = escape(caption)
    more = "".join(f' data-{name}="{escape(value)}"' for name, value in facts.items())
    image = f'<img{_enlarged(read)} alt="{told}" src="data:image/png;base64,{data}">'
    return f'<figure class="{css}"{more}><figcaption>{told}</figcaption>{image}</figure>\n'


def _enlarged(png: bytes) -> str:
    """Attributes that show a small picture larger, each pixel a square; its width stands in its first chunk."""
    width = int.from_bytes(png[16:20]) if png[12:16] == b"IHDR" else 0
    times = min(SMALL // width, LARGER) if width else 0
    return f' class="pixels" width="{times * width}"' if times > 1 else ""
