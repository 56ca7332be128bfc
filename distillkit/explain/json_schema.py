"""A JSON Schema (draft 7) of recipes, for editors: what is installed, with every key's type, limits and meaning.

Taplo, by which most editors check TOML, completes from `properties`, `anyOf` and `allOf`, but not from `if`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args, get_origin

import attrs

from distillkit.api import KINDS, Choice
from distillkit.explain.keys import Key, keys_of
from distillkit.explain.limits import Limits
from distillkit.explain.tables import Page, gloss
from distillkit.explain.words import finite, kind_of
from distillkit.recipe.schema import Tables
from distillkit.recipe.shown import arms, is_named, plain_type
from distillkit.recipe.structure import names_of

Schema = dict[str, Any]

SIGNS = {">=": "minimum", ">": "exclusiveMinimum", "<=": "maximum", "<": "exclusiveMaximum"}
PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string"}
REMOVE: Schema = {"remove": {"const": True, "description": "unset the key, though it is inherited or has a default"}}
REMOVED: Schema = {"properties": REMOVE, "required": ["remove"], "additionalProperties": False}
EXTENDS: Schema = {
    "description": "recipes below this one, by path or as they are shipped; later ones win, and this one over all",
    "type": ["string", "array"],
    "items": {"type": "string", "pattern": "^[^/]"},
    "pattern": "^[^/]",
}
MADE_WITH: Schema = {
    "description": "versions that made a resolved recipe; not read",
    "type": "object",
    "additionalProperties": {"type": "string"},
}


def recipe_schema(pages: Sequence[Page], part: bool = False) -> Schema:
    """Of recipes, as written or resolved, that name components of these pages; a `part` may lack what others have."""
    kinds = {kind: [page for page in pages if page.kind == kind] for kind in KINDS}
    definitions: dict[str, Schema] = {f"{page.kind}.{page.name}": _component(page) for page in pages}
    for kind, same in kinds.items():
        definitions |= {kind: _kind(kind, same), f"{kind}.whole": _whole(same)}
        definitions[f"{kind}.name"] = {"enum": [*names_of(kind), *(page.name for page in same)]}
    keys = keys_of(Tables)
    table = _table(keys)
    table["properties"] |= {"extends": EXTENDS, "made_with": MADE_WITH}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A distillkit recipe",
        **table,
        "required": ["schema"],
        **({} if part else {"if": {"not": {"required": ["extends"]}}, "then": _alone(keys, kinds["generator_loss"])}),
        "definitions": definitions,
    }


def _kind(kind: str, pages: Sequence[Page]) -> Schema:
    """A table with `use`; where that is inherited, the keys of one component."""
    refs = [_ref(f"{kind}.{page.name}") for page in pages]
    summaries = [page.text.partition("\n")[0] for page in pages]
    use = {"enum": [page.name for page in pages], "x-taplo": {"docs": {"enumValues": summaries}}}
    keys = sorted({"remove", *(key.name for page in pages for key in page.keys)})
    known = {"propertyNames": {"enum": keys}}  # told apart, since what fits none of many is told badly
    inherited = {
        "if": {"not": {"required": ["use"]}},
        "then": {"if": known, "then": {"anyOf": [*refs, REMOVED]}, "else": known},
    }
    named = [{"if": _uses(page), "then": ref} for page, ref in zip(pages, refs, strict=True)]
    return {
        "description": gloss(kind),
        "type": "object",
        "properties": {"use": use, **REMOVE},
        "allOf": [*named, inherited],
        "anyOf": [*refs, {}],  # the last one fits everything: this is for completion alone
    }


def _whole(pages: Sequence[Page]) -> Schema:
    """What a table with `use` must have where nothing is inherited."""
    needs = [{"if": _uses(page), "then": needed} for page in pages if (needed := _needed(page.keys))]
    return {
        "if": {"not": {"required": ["remove"]}},
        "then": {"required": ["use"], **({"allOf": needs} if needs else {})},
    }


def _uses(page: Page) -> Schema:
    return {"type": "object", "properties": {"use": {"const": page.name}}, "required": ["use"]}


def _component(page: Page) -> Schema:
    table = _table(page.keys)
    table["properties"] = {"use": {"const": page.name}, **table["properties"]}
    return {"title": page.name, "description": page.text, **table}


def _table(keys: Iterable[Key]) -> Schema:
    properties = {key.name: _property(key) for key in keys}
    return {"type": "object", "properties": properties | REMOVE, "additionalProperties": False}


def _property(key: Key) -> Schema:
    """A key's schema; as any value it may be {remove = true}."""
    schema = _value(key.type, key.limits, key.keys)
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], {"remove": True}]
    elif "anyOf" in schema:
        schema["anyOf"].append({"type": "object", **REMOVED})
    elif isinstance(types := schema.get("type"), list) and "object" not in types:
        schema |= {"type": [*types, "object"], **REMOVED}
    told = {"description": key.meaning} if key.meaning else {}
    return told | ({} if key.default is None or key.keys else {"default": finite(key.default)}) | schema


def _value(type_: Any, limits: Limits, keys: Sequence[Key] = ()) -> Schema:
    several = arms(type_)
    if len(several) > 1:
        names = [_ref(f"{kind_of(type_)}.name")] if is_named(type_) else []
        return {"anyOf": names + [_value(arm, limits, keys) for arm in several[len(names) :]]}
    base, inner = get_origin(several[0]) or several[0], get_args(several[0])
    if base is Literal:
        return {"enum": list(inner)}
    if base is Choice:
        return {"allOf": [_ref(inner[0].kind)]}
    if base in (list, tuple):
        return _array(base, inner, limits)
    if attrs.has(base):
        return _table(keys)
    return _plain(base, limits)


def _plain(base: Any, limits: Limits) -> Schema:
    if choices := limits.of(base):
        return {"enum": choices}
    schema: Schema = {"type": [PLAIN[base]]} if base in PLAIN else {"type": "object"} if base is dict else {}
    if base is float and limits.infinite:
        schema["type"].append("null")  # Taplo checks `inf` as null: JSON has no such number
    if base in (int, float):
        schema |= {SIGNS[sign]: bound for sign, bound in limits.bounds if math.isfinite(bound)}
    if base is str:
        schema |= {"minLength": limits.shortest} if limits.shortest else {}
        schema |= {"pattern": f"^(?:{limits.pattern})$"} if limits.pattern else {}
    return schema


def _array(base: Any, inner: tuple[Any, ...], limits: Limits) -> Schema:
    """A list; a table whose keys are numbers changes entries of an inherited one."""
    fixed = base is tuple and inner and inner[-1] is not Ellipsis
    entry = _value(inner[0] if inner else Any, limits.entries or Limits())
    whole = [_ref(f"{get_args(inner[0])[0].kind}.whole")] if inner and get_origin(inner[0]) is Choice else []
    few, many = (len(inner), len(inner)) if fixed else (limits.shortest, limits.longest)
    return {
        "type": ["array", "object"],
        "items": {"allOf": [*entry["allOf"], *whole]} if whole else entry,
        **({"minItems": few} if few else {}),
        **({} if many is None else {"maxItems": many}),
        "properties": REMOVE,
        "patternProperties": {"^[0-9]+$": entry},
        "additionalProperties": False,
    }


def _needed(keys: Iterable[Key]) -> Schema:
    """The keys that a table must have, and tables within, where nothing is inherited; empty if there are none."""
    required, properties = [key.name for key in keys if key.required], {}
    for key in keys:
        if plain_type(key.type) is Choice and key.default is None:
            properties[key.name] = _ref(f"{kind_of(key.type)}.whole")
        elif needed := _needed(key.keys):
            properties[key.name] = needed
    return ({"required": required} if required else {}) | ({"properties": properties} if properties else {})


def _alone(keys: Sequence[Key], methods: Sequence[Page]) -> Schema:
    """What a recipe must have that extends no other; its method may bring what it needs of some tables."""
    brought = {table for method in methods for table in method.sets}
    schema = _needed([key for key in keys if key.name not in brought])
    for table in brought & {key.name for key in keys if key.required}:
        without = {"enum": [method.name for method in methods if table not in method.sets]}
        named = {"properties": {"generator_loss": {"properties": {"use": without}, "required": ["use"]}}}
        schema.setdefault("allOf", []).append({"if": named, "then": {"required": [table]}})
    return schema


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}
