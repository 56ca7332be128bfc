"""No key of any component or table takes nan, nor infinity unless it says that it has a meaning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin

import attrs
import pytest

from distillkit.api.slots import SLOTS
from distillkit.explain import keys_of, type_text
from distillkit.recipe.keys import fields
from distillkit.recipe.schema import Recipe
from distillkit.recipe.shown import arms
from distillkit.recipe.structure import converter
from distillkit.recipe.values import Misfit
from distillkit.registry import Catalog

# What infinity stands for is said in the line on each of them, or on their table.
MEANT = {
    "recipe.run.tick_kimg", "recipe.run.checkpoint_kimg", "recipe.generator.ema_rampup_ratio",
    "recipe.generator.optimizer.clip_norm", "recipe.generator.optimizer.clip_value",
    *(f"recipe.run.guard.{key}" for key in ("saturated", "shift", "spread", "worse")),
    *(f"recipe.run.guard.{key}" for key in ("winning", "grad_norm", "skipped")),
    *(f"network.{name}.sigma_max" for name in ("edm-adm", "edm-ddpmpp", "edm-ncsnpp", "edm2")),
    *(f"sample.{name}.sigma_max" for name in ("ddim", "dpm-solver", "euler", "flow-map", "heun")),
    "sample.heun.S_max", "guidance.classifier-free.sigma_high",
    "generator_loss.sid2a.clip_value", "generator_loss.sida.clip_value", "generator_loss.realuid.clip_norm",
    *(f"generator_loss.{name}.clip_norm" for name in ("dmd", "dmd2", "f-distill", "ladd")),
    *(f"generator_loss.{name}.warmup_kimg" for name in ("meanflow", "scd", "sct")),
    "auxiliary_loss.adversarial.clip_norm", "auxiliary_loss.embedding.bank_mb",
}  # fmt: skip


def numbers(cls: type, where: str) -> Iterator[tuple[str, type, str, Any]]:
    """Of each key of numbers: its full name, its table, its name there, and where a number is in it."""
    for key, one in fields(cls).items():
        for arm in arms(one.type):
            base, inner = get_origin(arm) or arm, get_args(arm)
            if arm is float:
                yield f"{where}.{key}", cls, key, float
            elif base in (list, tuple) and float in inner:
                yield f"{where}.{key}", cls, key, [float] * (1 if inner[-1] is Ellipsis else len(inner))
            elif base is dict and float in inner:
                yield f"{where}.{key}", cls, key, {"a": float}
            elif isinstance(arm, type) and attrs.has(arm):
                yield from numbers(arm, f"{where}.{key}")


def holding(number: float, around: Any) -> Any:
    """The number where its type is."""
    if isinstance(around, list):
        return [number] * len(around)
    return number if around is float else dict.fromkeys(around, number)


@pytest.fixture(scope="module")
def complaints() -> Callable[[type, dict[str, Any]], list[str]]:
    """What is wrong with a table of that class."""
    made = converter(Catalog.installed())

    def find(table: type, given: dict[str, Any]) -> list[str]:
        try:
            made.structure(given, table)
        except Misfit as misfit:
            return [message for _, message, _ in misfit.complaints]
        return []

    return find


@pytest.fixture(scope="module")
def keys() -> list[tuple[str, type, str, Any]]:
    installed = Catalog.installed()
    tables = [("recipe", Recipe), *((f"slot.{kind}", slot) for kind, slot in SLOTS.items())]
    tables += [(f"{o.kind}.{o.name}", installed.load(o.kind, o.name).Config) for o in installed.offers]
    return [found for name, table in tables for found in numbers(table, name)]


def test_no_key_takes_nan(keys: Any, complaints: Any) -> None:
    assert len(keys) > 200
    for name, table, key, around in keys:
        assert "nan is no value to work with" in complaints(table, {key: holding(math.nan, around)}), name


@pytest.mark.parametrize("sign", [1, -1])
def test_infinity_is_taken_where_its_meaning_is_told_and_nowhere_else(keys: Any, complaints: Any, sign: int) -> None:
    taken = set()
    for name, table, key, around in keys:
        if not any("must be finite" in told for told in complaints(table, {key: holding(sign * math.inf, around)})):
            taken.add(name)
            (told,) = (one for one in keys_of(table) if one.name == key)
            assert " or inf" in type_text(told), name
    assert taken == MEANT
