"""Tables -> frozen values, strictly: no coercion, no ignored key, every problem reported."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

import attrs

from distillkit.api import KINDS, Choice, Use
from distillkit.recipe.fields import Field, fields, use_table
from distillkit.recipe.problem import Key
from distillkit.recipe.shown import expected, got, is_union
from distillkit.recipe.validate import failures
from distillkit.registry import Catalog, NotOffered, Unusable

BAD: Any = object()  # a value with a problem, which is already reported
_PLAIN = re.compile(r"true|false|-?\d{1,18}(\.\d{1,18})?(e-?\d{1,3})?")
Report = Callable[[Key, str, str], None]  # key, message, hint


class Structure:
    """Reads values by their type; what is wrong goes to `report` and reads as BAD."""

    def __init__(self, catalog: Catalog, report: Report) -> None:
        self.catalog, self._report = catalog, report

    def bad(self, key: Key, message: str, hint: str = "") -> Any:
        self._report(key, message, hint)
        return BAD

    def value(self, value: Any, type_: Any, key: Key) -> Any:
        """`value` if it is exactly of that type, its tables made into what the type says."""
        if is_union(type_):
            return self._union(value, type_, key)
        if not fits(value, type_):
            return self.bad(key, f"expected {expected(type_)}, got {got(value)}", _hint(value, type_, key))
        origin, arms = get_origin(type_) or type_, get_args(type_)
        if origin is Choice:
            return self.choice(value, arms[0].kind, key)
        if attrs.has(origin):
            return self.table(value, origin, key)
        if origin in (list, tuple):
            return self._list(value, origin, arms, key)
        if origin is dict:
            return self._dict(value, arms, key)
        return self._scalar(value, origin, key)

    def _scalar(self, value: Any, type_: Any, key: Key) -> Any:
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return self.bad(key, "is an integer of more than 64 bits")
        if isinstance(value, float) and math.isnan(value):
            return self.bad(key, "nan is no value to work with")
        return float(value) if type_ is float else value

    def _union(self, value: Any, type_: Any, key: Key) -> Any:
        arms = [arm for arm in get_args(type_) if arm is not type(None)]
        if value is None and len(arms) < len(get_args(type_)):
            return None
        found = next((arm for arm in arms if fits(value, arm)), None)
        if found is None:
            return self.bad(key, f"expected {expected(type_)}, got {got(value)}", _hint(value, arms[0], key))
        return self.value(value, found, key)

    def _list(self, value: Any, origin: type, arms: tuple[Any, ...], key: Key) -> Any:
        fixed = origin is tuple and arms and arms[-1] is not Ellipsis
        types = arms if fixed else [arms[0] if arms else Any] * len(value)
        entries = [self.value(part, type_, (*key, n)) for n, (part, type_) in enumerate(zip(value, types, strict=True))]
        return BAD if any(entry is BAD for entry in entries) else origin(entries)

    def _dict(self, value: dict[str, Any], arms: tuple[Any, ...], key: Key) -> Any:
        type_ = arms[1] if arms else Any
        found = {name: self.value(part, type_, (*key, name)) for name, part in value.items()}
        return BAD if any(part is BAD for part in found.values()) else found

    def choice(self, value: dict[str, Any] | Use, kind: str, key: Key) -> Any:
        """A table with `use` -> Choice: the kind's Slot keys are the engine's, the rest is the class's Config."""
        table = use_table(value) if isinstance(value, Use) else value
        name = table.get("use")
        if not isinstance(name, str):
            installed = f"installed: {', '.join(sorted({o.name for o in self.catalog.of(kind)}))}"
            return self.bad(
                (*key, "use"), "missing" if name is None else f"expected a string, got {got(name)}", installed
            )
        try:
            cls = self.catalog.load(kind, name)
            slots, configs = fields(KINDS[kind].Slot), fields(cls.Config)
        except (NotOffered, Unusable) as error:
            return self.bad((*key, "use"), error.message, error.hint)
        except NameError as error:
            return self.bad((*key, "use"), f"the Config of {cls.__name__} has a type that cannot be read: {error}")
        parts = {name: part for name, part in table.items() if name != "use"}
        known = self._known(parts, ["use", *slots, *configs], key)
        slot = self.table({k: v for k, v in parts.items() if k in slots}, KINDS[kind].Slot, key)
        config = self.table({k: v for k, v in parts.items() if k in configs}, cls.Config, key)
        return BAD if not known or slot is BAD or config is BAD else Choice(kind, name, cls, config, slot)

    def table(self, data: dict[str, Any], cls: type, key: Key) -> Any:
        """A table -> an instance of the attrs class."""
        values = self.values(data, cls, key)
        if any(value is BAD for value in values.values()):
            return BAD
        try:
            return cls(**values)
        except (ValueError, TypeError) as error:  # a check across keys
            return self.bad(key, str(error).partition("\n")[0])

    def values(self, data: dict[str, Any], cls: type, key: Key, skip: str = "") -> dict[str, Any]:
        """Attribute name -> value of what is given or must be; BAD where it has a problem, also for unknown keys."""
        keys = {name: field for name, field in fields(cls).items() if name != skip}
        values: dict[str, Any] = {} if self._known(data, list(keys), key) else {"": BAD}
        for name, field in keys.items():
            given = data[name] if name in data else field.pick()
            if name in data or given is not None:
                values[field.name] = self.value(given, field.type, (*key, name))
            elif field.required:
                values[field.name] = self._missing(field, (*key, name))
        sound = {name: value for name, value in values.items() if value is not BAD}
        for name, message, hint in failures(cls, sound, keys):
            values[keys[name].name] = self.bad((*key, name), message, hint)
        return values

    def _missing(self, field: Field, key: Key) -> Any:
        table = get_origin(field.type) is Choice or attrs.has(field.type)
        return self.bad(key, "missing", f"a table [{key[-1]}]" if table and len(key) == 1 else "")

    def _known(self, data: dict[str, Any], keys: list[str], key: Key) -> bool:
        unknown = [name for name in data if name not in keys]
        for name in unknown:
            near = get_close_matches(name, keys, n=1)
            what = "unknown table" if not key and isinstance(data[name], dict | list) else "unknown key"
            here = f"keys here: {', '.join(keys)}"
            self.bad((*key, name), what, f"did you mean {near[0]}?   {here}" if near else here)
        return not unknown


def fits(value: Any, type_: Any) -> bool:
    """Is the value of that shape, its entries aside? A bool is no number, and an integer is one."""
    origin, arms = get_origin(type_) or type_, get_args(type_)
    if is_union(type_):
        return any(fits(value, arm) for arm in arms)
    if origin is Any:
        return True
    if origin is Literal:
        return any(type(value) is type(arm) and value == arm for arm in arms)
    if origin is float:
        return type(value) in (float, int)
    if origin is Choice:
        return isinstance(value, dict | Use)
    if origin in (list, tuple):
        fixed = origin is tuple and arms and arms[-1] is not Ellipsis
        return isinstance(value, list | tuple) and (not fixed or len(value) == len(arms))
    return isinstance(value, dict) if origin is dict or attrs.has(origin) else type(value) is origin


def _hint(value: Any, type_: Any, key: Key) -> str:
    origin = get_origin(type_) or type_
    name = key[-1] if key else ""
    if origin in (list, tuple) and isinstance(value, dict) and len(key) == 1:
        return f"write [[{name}]]"
    if isinstance(value, list) and len(key) == 1 and (origin is Choice or attrs.has(origin)):
        return f"write [{name}]"
    if isinstance(value, str) and origin in (bool, int, float) and _PLAIN.fullmatch(value):
        return f"without quotes: {value}"
    return ""
