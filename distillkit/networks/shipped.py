"""Networks by name: those that come along, such as `digits/sid2a_el`, and those on the Hub, `hf://USER/NAME`."""

from __future__ import annotations

import warnings
from pathlib import Path

from distillkit.api.errors import UsageError

FOLDER = Path(__file__).parents[1] / "_students"


def names() -> list[str]:
    """Of all of them: "<data>/<recipe>"."""
    return sorted(path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*/student.json"))


def found(path: Path) -> Path:
    """The folder of the network of that name, else the path as it is; what lies there wins, with a warning.

    Raises UsageError for a name beside those that there are, InputError where the Hub has no such student.
    """
    if path.parts[:1] == ("hf:",):  # what a path makes of hf://
        from distillkit.networks import hub

        return hub.found("/".join(path.parts[1:]))
    name = path.as_posix()
    if path.exists():
        if name in names():
            warnings.warn(f"{name} is the folder here, not the network of that name that comes along", stacklevel=2)
        return path
    if name in names():
        return FOLDER / name
    if name.partition("/")[0] in {known.partition("/")[0] for known in names()}:
        raise UsageError(f"no such folder, and no network of the name {name!r} comes along; {', '.join(names())} do")
    return path
