"""Whether a run of a recipe is the beginning of a longer one: not if a schedule reaches its end with the run."""

from __future__ import annotations

from typing import Any

import attrs

from distillkit.api import Choice


def depends_on_kimg(value: Any) -> bool:
    """Whether a recipe, or something in it, says of itself that what it computes depends on run.kimg."""
    if isinstance(value, Choice):
        return depends_on_kimg(value.config)
    if isinstance(value, dict):
        return any(map(depends_on_kimg, value.values()))
    if isinstance(value, list | tuple):
        return any(map(depends_on_kimg, value))
    if not attrs.has(type(value)):
        return False
    own = bool(getattr(value, "depends_on_kimg", False))
    return own or any(depends_on_kimg(getattr(value, one.name)) for one in attrs.fields(type(value)))
