"""The files that define methods, one for each `[generator_loss] use =`: they read like their papers, and say which."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parent.parent / "plugins"
LONGEST = 160  # lines


def files() -> list[Path]:
    found = set()
    for table in PLUGINS.glob("*/pyproject.toml"):
        entries = tomllib.loads(table.read_text("utf-8"))["project"].get("entry-points", {})
        for target in entries.get("distillkit.generator_loss", {}).values():
            found.add(table.parent / (target.partition(":")[0].replace(".", "/") + ".py"))
    return sorted(found)


@pytest.mark.parametrize("path", files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_it_is_short_and_says_where_it_comes_from(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST
    assert "arXiv:" in text.split('"""')[1]
