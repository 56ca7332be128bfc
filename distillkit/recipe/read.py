"""A recipe file -> Recipe, or one table -> Choice: checked as a whole, nothing built."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import attrs

from distillkit.api import KINDS, Choice, GeneratorLoss, InputError
from distillkit.recipe.checks import check, overruled
from distillkit.recipe.keys import fields
from distillkit.recipe.layer import Layer, Origin, overlay, override, stamped
from distillkit.recipe.load import load
from distillkit.recipe.paths import of_run, resolved
from distillkit.recipe.problem import Key, Problem, RecipeProblems, key_text
from distillkit.recipe.schema import Recipe, Tables
from distillkit.recipe.shown import is_list, is_table
from distillkit.recipe.structure import converter
from distillkit.recipe.values import Complaint, Misfit
from distillkit.recipe.write import tables
from distillkit.registry import Catalog, NotOffered, Unusable

STUDY = {"cell", "vary"}  # tables of a study's file alone


def keys_meant(path: Path, sets: Sequence[str], text: str, catalog: Catalog) -> str:
    """The whole keys that a setting of the recipe's last names may mean, such as lr=1e-4; "": it names a table."""
    key = text.partition("=")[0].strip()
    if key.partition(".")[0] in {*fields(Tables), "extends"}:
        return ""
    try:
        whole = tables(read(path, [other for other in sets if other is not text], catalog))
    except RecipeProblems:
        return ""
    found = [name for name in dotted(whole) if name.endswith(f".{key}")]
    return " or ".join(found[:4]) + (", ..." if len(found) > 4 else "")


def dotted(table: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Every key within tables and lists of tables, as --set has it."""
    for key, value in table.items():
        yield f"{before}{key}"
        within = dict(enumerate(value)) if is_list(value) else value
        if isinstance(within, dict):
            tables_within = {k: part for k, part in within.items() if isinstance(value, dict) or isinstance(part, dict)}
            yield from dotted(tables_within, f"{before}{key}.")


def read(path: Path | str, sets: Sequence[str] = (), catalog: Catalog | None = None) -> Recipe:
    """Read, merge and check a recipe; `sets` are "a.b=VALUE" over it.

    Lowest to highest: the defaults of its method, what it extends, the file, `sets`.
    Raises RecipeProblems with all problems at once.
    """
    path, catalog = Path(path), catalog or Catalog.installed()
    layer, problems = load(path), []
    for key in STUDY & layer.data.keys():
        origin, hint = layer.origin((key,)), f"distillkit study {path}"
        raise RecipeProblems(path, [Problem(origin.file, origin.line, key, "this is a study, not a recipe", hint)])
    for text in sets:
        found = override(layer, text)
        if isinstance(found, Problem):
            problems.append(found)
        elif meant := keys_meant(path, sets, text, catalog):
            problems.append(Problem("--set", None, text.partition("=")[0].strip(), "unknown key", f"write {meant}"))
        else:
            layer = found
    method = _method(layer, catalog)
    if method:
        layer = overlay(stamped(method.recipe_defaults, Origin(f"defaults of {method.__name__}")), layer)
    written_out = layer.data.pop("made_with", None) is not None  # by `to_toml`: a resolved file gives every default

    def report(key: Key, message: str, hint: str = "") -> None:
        if method is None and key[0] in ("sample", "generator") and message.startswith("missing"):
            return  # the method that cannot be had may well bring it
        origin = layer.origin(key)
        problems.append(Problem(origin.file, origin.line, key_text(key), message, hint))

    def of_sets(key: Key, message: str, hint: str = "") -> None:
        if layer.origin(key).file == "--set":
            report(key, message, hint)

    try:
        with _quiet_of_runs(path):
            values = attrs.asdict(converter(catalog).structure(layer.data, Tables), recurse=False)
    except Misfit as misfit:
        for complaint in of_file(misfit, layer.data, Tables):
            report(*complaint)
        values = layer.data | misfit.sound
    check(values, report)
    overruled(values.get("generator_loss"), layer.data.get("generator"), of_sets if written_out else report)
    if problems:
        raise RecipeProblems(path, problems)
    values, written = resolved(values, layer)
    return Recipe(path=path, written=written, **values)


@contextmanager
def _quiet_of_runs(path: Path) -> Iterator[None]:
    """Inside, nobody is told to rewrite what a run has written of itself, in words of its time."""
    with warnings.catch_warnings() if of_run(path) else nullcontext():
        if of_run(path):
            warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _method(layer: Layer, catalog: Catalog) -> type[GeneratorLoss] | None:
    """The class of [generator_loss]; None if it cannot be had, which is reported with the rest."""
    table: Any = layer.data.get("generator_loss")
    name = table.get("use") if isinstance(table, dict) else None
    if not isinstance(name, str):
        return None
    try:
        return cast(type[GeneratorLoss], catalog.load("generator_loss", name))
    except (NotOffered, Unusable):
        return None


def of_file(misfit: Misfit, data: Mapping[str, Any], cls: type) -> Iterator[Complaint]:
    """The complaints about a whole file: its keys are tables, and each says how to write one."""
    types = {key: one.type for key, one in fields(cls).items()}
    for key, message, hint in misfit.complaints:
        name = str(key[0]) if len(key) == 1 else ""
        value = data.get(name)
        if name in types:
            yield key, message, hint or _header(name, value, types[name])
        else:
            yield key, "unknown table" if isinstance(value, dict | list) else message, hint


def _header(name: str, value: Any, type_: Any) -> str:
    """How a table of that type is begun, where there is none, or tables are taken for one another."""
    if is_table(type_) and value is None:
        return f"a table [{name}]"
    if is_table(type_) and isinstance(value, list):
        return f"write [{name}]"
    if not (is_list(type_) and isinstance(value, dict)):
        return ""
    if value and all(key.isdecimal() for key in value):  # else they were entries of a list beneath
        return f"[{name}.{min(value)}] changes an entry that is inherited, numbered from 0; a new one is [[{name}]]"
    return f"write [[{name}]]"


def choice_from_table(kind: str, table: dict[str, Any], catalog: Catalog, where: str) -> Choice[Any]:
    """A table with `use` -> Choice, as strictly as in a recipe. Raises InputError naming `where` it was found."""
    kinds: Any = KINDS
    try:
        return converter(catalog).structure(table, Choice[kinds[kind]])
    except Misfit as misfit:
        texts = [
            f"{key_text((kind, *key))} {message}" + (f" ({hint})" if hint else "")
            for key, message, hint in misfit.complaints
        ]
    raise InputError(f"{where}: {'; '.join(texts)}")
