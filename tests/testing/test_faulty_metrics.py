"""Each fault of a metric is found by its contract: every test here is one that must fail (x)."""

from __future__ import annotations

import random

from faults import caught

from distillkit.api import Evaluate, hookimpl


class Lucky(Evaluate):
    """Another number each time."""

    @hookimpl
    def evaluate(self) -> dict[str, float]:
        return {"luck": random.random()}


class Orphan(Evaluate):
    """A floor of nothing."""

    @hookimpl
    def evaluate(self) -> dict[str, float]:
        return {"fid": 1.0, "kid_floor": 0.0}


class Silent(Orphan):
    """Tells of another metric which way is better."""

    better = {"kid": "lower"}


class Terse(Orphan):
    """Says what one of its metrics means, and not of the other."""

    better = {"*": "lower"}
    means = {"kid": "A distance."}


class NotANumber(Evaluate):
    """Divides by nothing."""

    @hookimpl
    def evaluate(self) -> dict[str, float]:
        return {"fid": float("nan")}


TestLucky = caught(Lucky, "test_it_repeats_exactly")
TestOrphan = caught(Orphan, "test_floors_and_spreads_belong_to_a_metric")
TestSilent = caught(Silent, "test_every_metric_says_which_way_is_better")
TestTerse = caught(Terse, "test_what_metrics_mean_is_told_of_all_or_none")
TestNotANumber = caught(NotANumber, "test_it_gives_finite_numbers_by_name")
