"""The recipes go into the wheel as `distillkit/_recipes`; an editable install finds them where they are."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Recipes(BuildHookInterface):  # type: ignore[type-arg]
    """Called by hatchling for each build: `version` is "standard" or "editable"."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"]["recipes"] = "distillkit/_recipes"
