"""The recipe with every default, as the run has it."""

from __future__ import annotations

from html import escape

from distillkit.disk import files, typed
from distillkit.show.saved import Saved


def text(run: Saved) -> str:
    """resolved.toml, its tables in bold; nothing where it is lost."""
    path = run.path / "resolved.toml"
    if not path.is_file():
        return ""
    read = files.read(path).decode(errors="replace").removeprefix(typed.BOM)
    lines = escape(read, quote=False).splitlines()
    return f"<pre>{chr(10).join(f'<b>{line}</b>' if line.startswith('[') else line for line in lines)}</pre>"
