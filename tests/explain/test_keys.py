"""A Config -> its keys with types, limits, defaults and meanings."""

from __future__ import annotations

from typing import Literal

import pytest
from attrs import validators

from distillkit.api import (
    Choice,
    GeneratorLoss,
    Kernel,
    Optimizer,
    Use,
    and_,
    deep_iterable,
    field,
    frozen,
    ge,
    gt,
    in_,
    le,
    min_len,
    optional,
)
from distillkit.cli import explain
from distillkit.explain import as_json, default_text, keys_of, type_text


class Tame(GeneratorLoss):
    """A loss that does little."""

    @frozen(kw_only=True)
    class Config(GeneratorLoss.Config):
        alpha: float = field(default=1.5, validator=gt(0))  # how much
        betas: tuple[float, float] = (0.0, 0.999)
        """How fast
        it forgets."""
        kernel: Choice[Kernel] = Use("rbf", scales=[1.0, 2.0])  # compares
        steps: int  # type: ignore[misc]  # must be said
        name: str | None = None


class Tamer(Tame):
    """An heir."""

    @frozen(kw_only=True)
    class Config(Tame.Config):
        alpha: float = 2.0


@frozen(kw_only=True)
class Odd:
    """One key of each type."""

    share: float = field(default=0.0, validator=[ge(0), le(1)])
    number: int | None = field(default=None, validator=optional(and_(ge(2), le(2**32))))
    mode: str = field(default="a", validator=in_(("a", "b", "c")))
    only: str = field(default="x", validator=in_(["x"]))
    flag: bool = False
    pair: tuple[int, int] = field(default=(1, 2), validator=deep_iterable(ge(0)))
    many: tuple[float, ...] = field(default=(), validator=[min_len(1), deep_iterable(gt(0))])
    names: list[str] = field(factory=list)
    mixed: tuple[int, str] = (1, "a")
    kernels: tuple[Choice[Kernel], ...] = (Use("rbf"), Use("linear"))
    either: float | str = field(default=float("inf"), validator=validators.not_(ge(3)))
    literal: Literal["u", 2] = "u"
    table: dict[str, float] = field(factory=lambda: {"a": 1.0})
    optimizer: Optimizer = field(factory=lambda: Optimizer(lr=0.5))
    second: Optimizer | None = None
    made: int = field()

    @made.default
    def _of_pair(self) -> int:
        return self.pair[0]


TYPES = {
    "share": ("number >= 0 and <= 1", "0"),
    "number": ("integer >= 2 and <= 4294967296", "unset"),
    "mode": ('"a", "b" or "c"', '"a"'),
    "only": ('"x"', '"x"'),
    "flag": ("true or false", "false"),
    "pair": ("list of 2 integers >= 0", "[1, 2]"),
    "many": ("list of 1 or more numbers > 0", "[]"),
    "names": ("list of strings", "[]"),
    "mixed": ("list of 2 values", '[1, "a"]'),
    "kernels": ("list of kernel tables", '[{use = "rbf"}, {use = "linear"}]'),
    "either": ("number or inf or string", "inf"),
    "literal": ('"u" or 2', '"u"'),
    "table": ("table of numbers", "{a = 1}"),
    "optimizer": ("table", ""),
    "second": ("table", "unset"),
    "made": ("integer", "unset"),
}


def rows(config: type) -> dict[str, list[str]]:
    return {key: rest for key, *rest in explain.rows(keys_of(config))}


def test_keys_are_told_with_type_default_and_meaning() -> None:
    assert rows(Tame.Config) == {
        "alpha": ["number > 0", "1.5", "how much"],
        "betas": ["list of 2 numbers", "[0, 0.999]", "How fast it forgets."],
        "kernel": ["kernel table", '{use = "rbf", scales = [1, 2]}', "compares"],
        "steps": ["integer", "required", "must be said"],
        "name": ["string", "unset", ""],
    }


def test_meanings_are_inherited_with_the_keys() -> None:
    assert rows(Tamer.Config)["alpha"] == ["number", "2", "how much"]
    assert rows(Tamer.Config)["steps"] == ["integer", "required", "must be said"]


@pytest.mark.parametrize("name", TYPES)
def test_types_and_defaults_are_told_in_the_words_of_toml(name: str) -> None:
    (key,) = (key for key in keys_of(Odd) if key.name == name)
    assert (type_text(key), default_text(key)) == TYPES[name]


def test_the_keys_of_a_table_within_have_the_defaults_of_its_own_instance() -> None:
    assert rows(Odd)["optimizer.lr"][:2] == ["number > 0", "0.5"]
    assert rows(Odd)["second.lr"][:2] == ["number > 0", "1e-05"]


def test_programs_get_bounds_choices_kinds_and_plain_defaults() -> None:
    told = {key.name: as_json(key) for key in keys_of(Odd)}
    assert told["share"]["bounds"] == [">= 0", "<= 1"] and told["pair"]["bounds"] == [">= 0"]
    assert told["mode"]["choices"] == ["a", "b", "c"] and told["kernels"]["kind"] == "kernel"
    assert told["kernels"]["default"] == [{"use": "rbf"}, {"use": "linear"}] and told["either"]["default"] == "inf"
    assert [key["default"] for key in told["optimizer"]["keys"] if key["key"] == "lr"] == [0.5]
