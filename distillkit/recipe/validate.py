"""Every attrs validator of a class on its own, so that one failure does not hide the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError
from cattrs.errors import AttributeValidationNote

from distillkit.recipe.fields import default, fields


def every_problem(error: ClassValidationError, table: dict[str, Any], converter: Converter) -> ClassValidationError:
    """cattrs' error about a table, with all that validators refuse instead of the first such."""
    known = [inner for inner, _ in error.group_exceptions()[0]]
    known += [inner for inner in error.exceptions if isinstance(inner, ForbiddenExtraKeysError)]
    refused = list(_refused(error.cl, table, sound(error, table, converter)))
    return ClassValidationError(error.message, [*known, *refused] or error.exceptions, error.cl)


def sound(error: ClassValidationError, table: dict[str, Any], converter: Converter) -> dict[str, Any]:
    """Attribute name -> value, or default, of all that has no part in the error about a table."""
    bad = {note.name for _, note in error.group_exceptions()[0]}
    good = {key: one for key, one in fields(error.cl).items() if one.name not in bad}
    found = {
        one.name: converter.structure(table[key], one.type) if key in table else default(one)
        for key, one in good.items()
    }
    return {name: value for name, value in found.items() if value is not attrs.NOTHING}


def _refused(cls: type, table: dict[str, Any], values: dict[str, Any]) -> Iterator[Exception]:
    """The errors of the validators of what `table` gives; they see an instance with all sound values."""
    probe = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(probe, name, value)
    for key, one in fields(cls).items():
        if key not in table or one.name not in values or one.validator is None or one.converter is not None:
            continue
        try:
            one.validator(probe, one, values[one.name])
        except (ValueError, TypeError) as error:
            error.add_note(AttributeValidationNote(f"validating {one.name}", one.name, one.type))
            yield error
        except AttributeError:  # it asks for a neighbour that has a problem itself
            continue
