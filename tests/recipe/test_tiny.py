"""Components as small as their classes say: for smoke runs, contracts and random recipes."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from distillkit.api import Choice, Evaluate, GeneratorLoss, Optimizer, PluginError, field, frozen, ge
from distillkit.api.slots import SLOTS
from distillkit.recipe import choice_from_table, tiny
from distillkit.registry import Catalog


class Measure(Evaluate):
    """A metric of many images."""

    tiny = {"images": 16, "levels": (4,), "after_kimg": 0.0, "exact": False}

    @frozen(kw_only=True)
    class Config:
        images: int = field(default=50_000, validator=ge(2))
        levels: tuple[int, ...] = (64, 32)
        after_kimg: float = 100.0
        exact: bool = True
        other: int = 7


class Old(Evaluate):
    """A metric of a plugin that was written before there was `tiny`."""

    @frozen(kw_only=True)
    class Config:
        images: int = 50_000


class Hosting(GeneratorLoss):
    """A method with parts."""

    @frozen(kw_only=True)
    class Config:
        part: Any = None
        parts: tuple[Any, ...] = ()
        optimizer: Optimizer = Optimizer(warmup_kimg=10.0)


def choice(cls: type, **keys: Any) -> Choice[Any]:
    return Choice(cls.kind, cls.__name__.lower(), cls, cls.Config(**keys), SLOTS[cls.kind]())


def test_larger_numbers_become_as_small_and_all_else_is_replaced() -> None:
    assert tiny(choice(Measure)).config == Measure.Config(
        images=16, levels=(4,), after_kimg=0.0, exact=False, other=7
    )  # fmt: skip
    assert tiny(choice(Measure, images=3)).config.images == 3, "it is smaller already"


def test_parts_are_made_small_too_and_optimizers_are_warm() -> None:
    made = tiny(choice(Hosting, part=choice(Measure), parts=(choice(Measure), choice(Old)))).config
    assert [part.config.images for part in (made.part, *made.parts)] == [16, 16, 50_000]
    assert made.optimizer.warmup_kimg == 0


def test_a_term_begins_at_once() -> None:
    table = {"use": "embedding", "start_kimg": 5.0, "stop_kimg": 9.0}
    slot = tiny(choice_from_table("auxiliary_loss", table, Catalog.installed(), "here")).slot
    assert (slot.start_kimg, slot.stop_kimg) == (0, 9)


def test_another_component_may_stand_in_for_a_part() -> None:
    made = tiny(choice(Hosting, part=choice(Old)), lambda part: choice(Measure) if part.cls is Old else part)
    assert made.config.part == attrs.evolve(choice(Measure), config=tiny(choice(Measure)).config)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"image": 3}, 'Wrong.tiny names the key "image"'), ({"images": 1}, "Wrong.tiny: its Config refuses it")],
)
def test_what_a_config_refuses_is_the_plugins_fault(wrong: dict[str, Any], told: str) -> None:
    cls = type("Wrong", (Measure,), {"tiny": wrong})
    with pytest.raises(PluginError, match=told):
        tiny(choice(cls))
