"""The table of first-party components agrees with the plugins of this repository."""

from __future__ import annotations

import tomllib
from pathlib import Path

from distillkit.api import KINDS
from distillkit.registry.known import KNOWN

PLUGINS = Path(__file__).parents[2] / "plugins"


def test_every_kind_in_the_table_exists():
    assert {kind for kind, _ in KNOWN} <= set(KINDS)


def test_every_component_of_a_plugin_here_is_in_the_table():
    for file in PLUGINS.glob("*/pyproject.toml"):
        project = tomllib.loads(file.read_text())["project"]
        for group, names in project.get("entry-points", {}).items():
            for name in names:
                assert KNOWN.get((group.removeprefix("distillkit."), name)) == project["name"], (group, name)
