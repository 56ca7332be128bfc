"""What the run was made with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillkit.disk import typed
from distillkit.show.saved import Saved
from distillkit.show.sections import facts as of


def facts(run: Saved) -> str:
    """Versions, from run.json or else the recipe."""
    return of.table(_versions(run))


def _versions(run: Saved) -> Mapping[str, Any]:
    found, resolved = run.info.get("versions"), run.path / "resolved.toml"
    if not found and resolved.is_file():
        found = typed.toml(resolved).get("made_with")
    return found if isinstance(found, dict) else {}
