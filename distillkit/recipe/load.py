"""One recipe file -> a layer, with limits against hostile files; and the files it extends."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

from distillkit.recipe.layer import Layer, Origin, overlay
from distillkit.recipe.lines import MAX_DEPTH, MAX_KEY, TooMuch, check_limits, key_lines
from distillkit.recipe.problem import Problem, RecipeProblems
from distillkit.recipe.shown import shown

MAX_BYTES = 256 * 1024
MAX_VALUES = 5_000  # keys and list entries of a file


def load(path: Path) -> Layer:
    """The file and all it extends, merged. Raises RecipeProblems for what is no readable TOML recipe."""
    return _load(path, path, ())


def _load(path: Path, asked: Path, chain: tuple[Path, ...]) -> Layer:
    file = os.path.relpath(path, asked.parent) if chain else path.name
    layer = _read(path, asked, file)
    wrong = _header_problem(layer, path, chain)
    if wrong:
        key, message, hint = wrong
        raise RecipeProblems(asked, [Problem(file, layer.origin((key,)).line, key, message, hint)])
    parent = layer.data.pop("extends", None)
    if parent is None:
        return layer
    if not (path.parent / parent).is_file():
        problem = Problem(file, layer.origin(("extends",)).line, "extends", f"no such file: {shown(parent)}")
        raise RecipeProblems(asked, [problem])
    return overlay(_load(path.parent / parent, asked, (*chain, path)), layer)


def _header_problem(layer: Layer, path: Path, chain: tuple[Path, ...]) -> tuple[str, str, str] | None:
    schema, parent = layer.data.get("schema"), layer.data.get("extends")
    if schema is None:
        return "schema", "missing", "schema = 1 at the top"
    if schema != 1 or not isinstance(schema, int) or isinstance(schema, bool):
        return "schema", "this distillkit reads schema = 1", "install the distillkit that the recipe was written for"
    if parent is not None and not is_recipe_name(parent):
        return "extends", "must be the relative path of a .toml file", ""
    visited = [p.resolve() for p in chain]
    if path.resolve() in visited:
        return "extends", f"goes in a circle: {' -> '.join(p.name for p in (*chain, path))}", ""
    return None


def is_recipe_name(value: Any) -> bool:
    """May the value be a recipe's `extends` or `from`?"""
    return isinstance(value, str) and value.endswith(".toml") and not PurePosixPath(value).is_absolute()


def _read(path: Path, asked: Path, file: str) -> Layer:
    try:
        text = _text(path)
        check_limits(text)
        data = tomllib.loads(text)
        _check_values(data)
    except TooMuch as error:
        raise RecipeProblems(asked, [Problem(file, error.line or None, "", error.message)]) from error
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeProblems(asked, [_unreadable(file, error)]) from error
    lines = {key: Origin(file, line) for key, line in key_lines(text).items()}
    return Layer(data, {(): Origin(file), **lines})


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(2, "no such file")
    with path.open("rb") as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise TooMuch(f"larger than {MAX_BYTES // 1024} KB", 0)
    return raw.decode().replace("\r\n", "\n")


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
