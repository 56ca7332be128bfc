"""Writes distillkit/registry/known.py from the entry points of the plugins here: `python .ci/known.py`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "distillkit" / "registry" / "known.py"
HEAD = '''"""Which distribution of ours offers what, for the hint `pip install ...`; written by .ci/known.py."""

from __future__ import annotations

# (kind, name) -> distribution
KNOWN: dict[tuple[str, str], str] = {
'''


def text() -> str:
    """What the file must be."""
    lines = [f'    ("{kind}", "{name}"): "{dist}",\n' for kind, name, dist in sorted(offered())]
    return f"{HEAD}{''.join(lines)}}}\n"


def offered() -> Iterator[tuple[str, str, str]]:
    """Kind, name and distribution of every component of the plugins."""
    for path in ROOT.glob("plugins/*/pyproject.toml"):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        for group, names in project.get("entry-points", {}).items():
            if group.startswith("distillkit."):
                yield from ((group.removeprefix("distillkit."), name, project["name"]) for name in names)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
