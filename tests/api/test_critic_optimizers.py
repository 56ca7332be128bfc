"""Keys of a method that are an optimizer's, by their names, are those of its critics' optimizer."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from distillkit.api import Optimizer, field, frozen
from distillkit.registry import Catalog

OTHER: dict[str, Any] = {
    "eps": 1e-5, "weight_decay": 0.25, "clip_norm": 3.0, "warmup_kimg": 7.0, "schedule": "cosine", "decay_from": 0.5,
    "final_lr": 0.125,
}  # fmt: skip
CATALOG = Catalog.installed()
METHODS = {
    f"{offer.kind} {offer.name}": offer.load().Config
    for kind in ("generator_loss", "auxiliary_loss")
    for offer in CATALOG.of(kind)
}
WITH_CRITICS = [name for name, config in METHODS.items() if hasattr(config, "optimizer")]


def test_it_has_the_keys_of_a_config_and_defaults_beside_them() -> None:
    @frozen(kw_only=True)
    class Config:
        lr: float = 0.5
        clip_norm: float | None = 2.0
        alpha: float = field(default=1.0)  # no optimizer's

    assert Optimizer.of(Config()) == Optimizer(lr=0.5, clip_norm=2.0)
    assert Optimizer.of(Config(), lr=0.25, name="adamw") == Optimizer(name="adamw", lr=0.25, clip_norm=2.0)


@pytest.mark.parametrize("name", WITH_CRITICS)
def test_no_key_of_a_method_is_lost(name: str) -> None:
    assert len(WITH_CRITICS) >= 12
    config = METHODS[name]
    given = {key: value for key, value in OTHER.items() if key in {one.name for one in attrs.fields(config)}}
    made = config(**given)
    found = made.optimizer()
    assert {key: getattr(found, key) for key in given} == given
    assert made.depends_on_kimg and not config().depends_on_kimg
