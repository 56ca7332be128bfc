"""One recipe file -> a layer, with limits against hostile files; and the files it extends."""

from __future__ import annotations

import re
import tomllib
from copy import deepcopy
from functools import lru_cache
from os.path import isfile
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import evolve

from distillkit.recipe import shipped
from distillkit.recipe.layer import Layer, Origin, overlay
from distillkit.recipe.lines import MAX_DEPTH, MAX_KEY, TooMuch, check_limits, key_lines
from distillkit.recipe.problem import Key, Problem, RecipeProblems
from distillkit.recipe.shown import shown

BOM = "\ufeff"  # Notepad and PowerShell begin a file with it
MAX_BYTES = 256 * 1024
MAX_VALUES = 5_000  # keys and list entries of a file
MAX_FILES = 100  # that a recipe is made of
STARTS = ("teacher_score", "generator")  # tables whose `from` names a recipe
NAMED = "must be the relative path of a .toml file, or a shipped recipe's name"
Wrong = tuple[str, str, str]  # key, message, hint


def load(path: Path) -> Layer:
    """The file and all it extends, merged. Raises RecipeProblems for what is no readable TOML recipe."""
    return _load(path, path, (), [])


def files(path: Path) -> list[Path]:
    """The file and all it extends, each once."""
    opened: list[Path] = []
    _load(path, path, (), opened)
    return list(dict.fromkeys(opened))


def _load(path: Path, asked: Path, chain: tuple[Path, ...], opened: list[Path]) -> Layer:
    file = shipped.seen_from(path, asked.parent).removesuffix(".toml") + ".toml" if chain else path.name
    opened.append(path)
    layer = _read(path, asked, file)
    if chain:
        _name_from(layer.data, path.parent, asked)
    wrong = _schema_problem(layer) or _extends_problem(layer, path, chain, opened)
    if wrong:
        key, message, hint = wrong
        raise RecipeProblems(asked, [Problem(file, layer.origin((key,)).line, key, message, hint)])
    below = Layer({})
    for name in _listed(layer.data.pop("extends", [])):
        below = overlay(below, _load(shipped.path_of(name, path.parent), asked, (*chain, path), opened))
    return overlay(below, layer)


def _schema_problem(layer: Layer) -> Wrong | None:
    schema = layer.data.get("schema")
    if schema is None:
        return "schema", "missing", "schema = 1 at the top"
    if schema != 1 or not isinstance(schema, int) or isinstance(schema, bool):
        return "schema", "this distillkit reads schema = 1", "install the distillkit that the recipe was written for"
    return None


def _extends_problem(layer: Layer, path: Path, chain: tuple[Path, ...], opened: list[Path]) -> Wrong | None:
    below = _listed(layer.data.get("extends", []))
    if not all(is_recipe_name(name) for name in below):
        return "extends", f"{NAMED}, or a list of such", ""
    if path.resolve() in [p.resolve() for p in chain]:
        return "extends", f"goes in a circle: {' -> '.join(p.name for p in (*chain, path))}", ""
    if len(opened) + len(below) > MAX_FILES:
        return "extends", f"made of more than {MAX_FILES} files", ""
    for name in below:
        if not isfile(shipped.path_of(name, path.parent)):  # which takes a name that is too long, too
            return "extends", f"no such file: {shown(name)}", shipped.near(name, path.parent)
    return None


def _meant(path: Path) -> str:
    """A hint where there is no such file: a run, which goes on otherwise, or a shipped recipe."""
    if (path / "run.json").is_file():
        return f"it is a run: --resume {path}, or {path} --extend --set run.kimg=N"
    return shipped.near(str(path))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _name_from(data: dict[str, Any], here: Path, asked: Path) -> None:
    """`from` is relative to the file that says it; from here on, to the recipe asked for.

    A recipe of the same name beside the one asked for is taken first.
    """
    for name in STARTS:
        table = data.get(name)
        if isinstance(table, dict) and is_recipe_name(table.get("from")):
            named = shipped.path_of(table["from"], here)
            own = asked.parent / named.name
            table["from"] = shipped.seen_from(own if own != asked and own.is_file() else named, asked.parent)


def is_recipe_name(value: Any) -> bool:
    """May the value be a recipe's `extends` or `from`?"""
    if not isinstance(value, str) or PurePosixPath(value).is_absolute():
        return False
    return value.endswith(".toml") or shipped.is_name(value)


def _read(path: Path, asked: Path, file: str) -> Layer:
    try:
        data, lines = _parsed(_text(path))
    except TooMuch as error:
        raise RecipeProblems(asked, [Problem(file, error.line or None, "", error.message)]) from error
    except (OSError, ValueError, RecursionError) as error:
        problem = _unreadable(file, error)
        hint = _meant(path) if isinstance(error, FileNotFoundError) else ""
        raise RecipeProblems(asked, [evolve(problem, hint=hint)]) from error
    origins = {(): Origin(file, None, path), **{key: Origin(file, line, path) for key, line in lines.items()}}
    return Layer(deepcopy(data), origins)


@lru_cache(maxsize=256)
def _parsed(text: str) -> tuple[dict[str, Any], dict[Key, int]]:
    """Tables and lines; kept, since many recipes have parts in common."""
    check_limits(text)
    data = tomllib.loads(text)
    _check_values(data)
    return data, key_lines(text)


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(2, "no such file: it is a folder" if path.is_dir() else "no such file")
    with path.open("rb") as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise TooMuch(f"larger than {MAX_BYTES // 1024} KB", 0)
    return raw.decode().removeprefix(BOM).replace("\r\n", "\n")


def _check_values(data: Any) -> None:
    todo, count = [(data, 0)], 0
    while todo:
        value, depth = todo.pop()
        count += 1
        if count > MAX_VALUES:
            raise TooMuch(f"more than {MAX_VALUES} keys and values", 0)
        if depth > MAX_DEPTH:
            raise TooMuch(f"nested deeper than {MAX_DEPTH}", 0)
        if isinstance(value, dict):
            if any(len(key) > MAX_KEY for key in value):
                raise TooMuch(f"a key is longer than {MAX_KEY} characters", 0)
            todo += [(part, depth + 1) for part in value.values()]
        elif isinstance(value, list):
            todo += [(part, depth + 1) for part in value]


def _unreadable(file: str, error: Exception) -> Problem:
    if isinstance(error, OSError):
        return Problem(file, None, "", error.strerror or type(error).__name__)
    if isinstance(error, UnicodeDecodeError):
        return Problem(file, None, "", f"not UTF-8: byte {error.object[error.start]:#04x} at {error.start}")
    if isinstance(error, RecursionError):
        return Problem(file, None, "", "nested too deeply")
    at = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
    message = str(error)[: at.start()] if at else str(error).partition(";")[0]
    return Problem(file, int(at[1]) if at else None, "", f"not TOML: {message.strip()[:120]}")
