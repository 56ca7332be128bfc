"""Where in its files a recipe says what a component refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import attrs

from distillkit.api import Choice, Component, UsageError
from distillkit.recipe import Problem, RecipeProblems
from distillkit.recipe.graph import layered
from distillkit.recipe.keys import fields
from distillkit.recipe.problem import Key, key_text
from distillkit.recipe.schema import Recipe, Tables

NAMED = re.compile(r"\[?([a-z_]+(?:(?:\.\w+)|(?:\[\d+\]))*)\b")  # a message that begins with a key


def located(error: UsageError, recipe: Recipe, sets: Sequence[str]) -> RecipeProblems:
    """The error as a problem of the recipe, with its key, file and line."""
    if isinstance(error, RecipeProblems):
        return error
    text = " ".join(str(error).split())
    key = key_of(error, text, recipe)
    at = layered(recipe.path, sets).origin(key)
    return RecipeProblems(recipe.path, [Problem(at.file or recipe.path.name, at.line, key_text(key), text)])


def key_of(error: UsageError, text: str, recipe: Recipe) -> Key:
    """The key that the message begins with, or the table of the innermost component that refused."""
    named = NAMED.match(text)
    words = [int(word) if word.isdigit() else word for word in re.split(r"[.\[\]]+", named[1]) if word] if named else []
    if len(words) > 1 and words[0] in fields(Tables):
        return tuple(words)
    below = dict(choices({name: getattr(recipe, name) for name in fields(Tables)}))
    cause = error.__cause__.__traceback__ if error.__cause__ else None
    came_through = [*components(error.__traceback__), *components(cause)]
    for part in reversed(came_through):
        if key := next((key for key, choice in below.items() if choice.config is part.config), None):
            known = fields(type(part.config))
            return (*key, *words[:1]) if words and words[0] in known else key
    return tuple(words) if words and words[0] in fields(Tables) else ("generator",)


def components(trace: TracebackType | None) -> Iterator[Component]:
    """The components whose methods an error came through, the outermost first."""
    while trace is not None:
        if isinstance(own := trace.tb_frame.f_locals.get("self"), Component):
            yield own
        trace = trace.tb_next


def choices(value: Any, at: Key = ()) -> Iterator[tuple[Key, Choice[Any]]]:
    """Every component that a recipe picks, and the key of its table."""
    if isinstance(value, Choice):
        yield at, value
        yield from choices(value.config, at)
        yield from choices(value.slot, at)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from choices(part, (*at, name))
    elif isinstance(value, list | tuple):
        for n, part in enumerate(value):
            yield from choices(part, (*at, n))
    elif attrs.has(type(value)):
        for name, one in fields(type(value)).items():
            yield from choices(getattr(value, one.name), (*at, name))
