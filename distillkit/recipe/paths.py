"""Paths in recipes: what they count from, and how fingerprints and the folders of runs spell them.

A relative path counts from the file that writes it. From the working directory count those of `--set`, of tables given
in Python, of defaults and of shipped recipes; a published file is called by its name wherever it lies.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from glob import iglob
from pathlib import Path
from typing import Any, TypeVar

import attrs

from distillkit.api import Choice
from distillkit.api.keys import names_file
from distillkit.assets.table import table
from distillkit.recipe import shipped
from distillkit.recipe.keys import fields
from distillkit.recipe.layer import Layer, Origin, removed
from distillkit.recipe.problem import Key, key_text

V = TypeVar("V")
Change = Callable[[Key, Any, str], str]  # key, attribute, text
_OF_PYTHON: set[Path] = set()  # files that stand for tables which no file holds


def changed(value: V, change: Change, at: Key = ()) -> V:
    """The recipe or config with `change(key, attribute, text)` for each text that names a file or folder to read."""
    made: V = _changed(value, change, at, None)
    return made


def named(value: Any) -> dict[Key, tuple[Any, str]]:
    """The texts that name a file or folder, each with the field that has it, by their keys."""
    found: dict[Key, tuple[Any, str]] = {}

    def note(key: Key, attribute: Any, text: str) -> str:
        found[key] = attribute, text
        return text

    changed(value, note)
    return found


def _changed(value: Any, change: Change, at: Key, of: Any) -> Any:
    """`of`: the field that the value is in, if that names files."""
    if isinstance(value, str):
        return value if of is None else change(at, of, value)
    if isinstance(value, list | tuple):
        parts = [_changed(part, change, (*at, n), of) for n, part in enumerate(value)]
        return value if _same(parts, value) else type(value)(parts)
    if isinstance(value, dict):
        table = {key: _changed(part, change, (*at, key), of) for key, part in value.items()}
        return value if _same(table.values(), value.values()) else table
    logs = isinstance(value, Choice) and value.kind == "logger"  # to files that are written
    return _changed_fields(value, change, at) if attrs.has(type(value)) and not logs else value


def _changed_fields(value: Any, change: Change, at: Key) -> Any:
    known, other = fields(type(value)), dict[str, Any]()
    for key, one in known.items():
        old = getattr(value, one.name)
        within = at if isinstance(value, Choice) else (*at, key)
        new = _changed(old, change, within, one if names_file(one) else None)
        if new is not old:
            other[str(one.alias)] = new
    return attrs.evolve(value, **other) if other else value


def _same(new: Any, old: Any) -> bool:
    return all(a is b for a, b in zip(new, old, strict=True))


def resolved(values: Mapping[str, Any], layer: Layer) -> tuple[dict[str, Any], dict[Key, str]]:
    """The tables of a recipe with paths that work from here, and those that were written otherwise, as they were.

    Warns of what is there only as seen from the working directory, which 0.1 took.
    """
    written: dict[Key, str] = {}

    def change(key: Key, _: Any, text: str) -> str:
        place = _written(layer.data, key)
        if place is None:  # a default
            return text
        found = _found(text, layer.origin(place), key)
        if found != text:
            written[key] = text
        return found

    return {name: changed(part, change, (name,)) for name, part in values.items()}, written


def _written(data: Any, key: Key) -> Key | None:
    """The key as the layers have it, which still hold entries that are removed; None: no layer gives it."""
    place: Key = ()
    for name in key:
        if isinstance(data, list | tuple):
            kept = [n for n, part in enumerate(data) if not removed(part)]
            known: str | int = kept[name] if isinstance(name, int) and name < len(kept) else -1
        else:
            known = str(name)
        if known == -1 or not isinstance(data, list | tuple | dict) or (isinstance(data, dict) and known not in data):
            return None
        place, data = (*place, known), data[known]  # type: ignore[index] # a number, or a key that is there
    return place


def _found(text: str, origin: Origin, key: Key) -> str:
    file = origin.path
    if file is None or is_of_python(file) or not text or "://" in text or os.path.isabs(text):
        return text
    beside = _joined(file.parent, text)
    if os.path.realpath(file).startswith(os.path.realpath(shipped.folder()) + os.sep):
        return beside if _there(beside) and not _there(text) else text
    if _there(beside):
        return beside
    if _there(text):
        if not of_run(file):  # those of 0.1.0 are spelt so
            new = Path(os.path.relpath(text, file.parent)).as_posix()
            place = origin.file if origin.line is None else f"{origin.file}:{origin.line}"
            warnings.warn(
                f'{place}: {key_text(key)} = "{text}" is there as seen from the working directory, which goes with '
                f'distillkit 0.2: write "{new}", as seen from {file.name} (docs/migrate.md)',
                FutureWarning, stacklevel=2,
            )  # fmt: skip
        return text
    # Of a run whose folder was moved alone: as seen from its project.
    known = re.sub(r"^(\.\./)+", "", text) if of_run(file) else text
    return known if known in table() or (of_run(file) and (_there(known) or not text.startswith(".."))) else beside


def of_run(file: Path) -> bool:
    """Is the file a run's own, or of those that it was made of?"""
    return file.name == "resolved.toml" or (file.parent.parent / "resolved.toml").is_file()


def _joined(folder: Path, text: str) -> str:
    """The path in a folder, without the dots that it can do without."""
    whole = folder / text
    plain = os.path.normpath(whole)
    try:
        return plain if not whole.exists() or os.path.samefile(plain, whole) else str(whole)
    except OSError:  # `link/..` is not where the link is
        return str(whole)


def _there(text: str) -> bool:
    """Is it there, or anything of a pattern such as train-{000..146}.tar?"""
    if os.path.exists(text):
        return True
    pattern = re.sub(r"\{[^{}]*\}", "*", text)
    return any(char in pattern for char in "*?[") and next(iglob(pattern), None) is not None


def spelt(text: str, home: str | None, folder: str | None = None) -> str:
    """The path as a fingerprint has it, or a file in `folder`: relative if it is below `home`, else whole.

    `home`: "" for the root of all, None for nothing. Names of published files, and URLs, stay.
    """
    if not text or "://" in text or (text in table() and not os.path.exists(text)):
        return text
    whole = os.path.abspath(text)
    below = home is not None and whole.startswith(home.rstrip(os.sep) + os.sep)
    return Path(os.path.relpath(whole, folder or home)).as_posix() if below else whole


def is_of_python(path: Path) -> bool:
    """Does the file stand for tables given in Python?"""
    return path in _OF_PYTHON


@contextmanager
def of_python(path: Path) -> Iterator[None]:
    """Inside, relative paths in that file count from the working directory."""
    _OF_PYTHON.add(path)
    try:
        yield
    finally:
        _OF_PYTHON.discard(path)
