"""Every attrs validator of a class on its own, so that one failure does not hide the next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import attrs

from distillkit.recipe.fields import Field
from distillkit.recipe.shown import shown


def failures(cls: type, values: dict[str, Any], keys: dict[str, Field]) -> Iterator[tuple[str, str, str]]:
    """(key, message, hint) of each of `values` (by attribute name) that its validator refuses.

    Validators get an instance that holds the values read so far and the plain defaults.
    """
    probe = object.__new__(cls)
    for field in keys.values():
        default = field.attribute.default
        if field.name in values or not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            object.__setattr__(probe, field.name, values.get(field.name, default))
    for field in keys.values():
        if field.name not in values or field.attribute.validator is None:
            continue
        try:
            field.attribute.validator(probe, field.attribute, values[field.name])
        except (ValueError, TypeError) as error:
            yield field.key, *_explained(error, field.name)


def _explained(error: Exception, name: str) -> tuple[str, str]:
    message = str(error.args[0]) if error.args else type(error).__name__
    if len(error.args) == 4 and message.startswith(
        f"'{name}' must be in "
    ):  # attrs' in_: (text, attribute, options, value)
        _, _, options, value = error.args
        near = get_close_matches(str(value), [str(option) for option in options], n=1)
        hint = f"did you mean {shown(near[0])}?" if near and isinstance(value, str) else ""
        return f"must be one of {', '.join(shown(option) for option in options)}, got {shown(value)}", hint
    return re.sub(rf"^'{re.escape(name)}' ", "", message)[:200], ""
