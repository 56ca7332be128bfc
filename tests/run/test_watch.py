"""The verdict on rows of a log: when a sign begins to count, and when it does not."""

from __future__ import annotations

from typing import Any

import pytest

from distillkit.guard import HEALTH, LOOK, Watch, relative
from distillkit.recipe.schema import Guard

WELL = {"finite": 1.0, "saturated": 0.0, "shift": 0.1, "spread": 1.0, "contrast": 1.0, "diversity": 0.9}


def look(nimg: int, **changed: float) -> dict[str, Any]:
    return {"what": LOOK, "nimg": nimg, HEALTH: {**WELL, **changed}}


def tick(nimg: int, **values: float) -> dict[str, Any]:
    return {"what": "tick", "nimg": nimg, "skipped": 0, **{key.replace("__", "/"): v for key, v in values.items()}}


def named(*rows: dict[str, Any], **guard: Any) -> list[tuple[int, str]]:
    """Images at which signs were told, and their names; batches of 10."""
    watch = Watch(Guard(**guard), 10)
    return [(row["nimg"], sign.name) for row in rows for sign in watch.see(row)]


def test_a_sign_counts_at_the_second_look_in_a_row() -> None:
    sick = {"diversity": 0.01}
    assert named(look(0), look(300), look(600, **sick), look(900), look(1200, **sick)) == []
    assert named(look(0), look(300), look(600, **sick), look(900, **sick), look(1200, **sick)) == [(900, "one mode")]
    assert named(look(0), look(300, **sick), looks=1) == [(300, "one mode")]


def test_the_first_iterations_say_nothing_but_nan() -> None:
    assert named(look(0), look(100, diversity=0.0), look(240, diversity=0.0)) == []
    assert named(look(0), look(100, finite=0.5), look(240, finite=0.5)) == [(240, "not finite")]


def test_what_began_below_a_threshold_has_to_lose_half() -> None:
    start = look(0, diversity=0.02)
    slow = [look(300, diversity=0.019), look(600, diversity=0.025), look(900, diversity=0.03)]
    assert named(start, *slow) == []
    assert named(start, *slow, look(1200, diversity=0.01), look(1500, diversity=0.01)) == [(1500, "one mode")]


def test_a_picture_between_evaluations_leaves_a_metric_as_it_was() -> None:
    bad = {"worse/frechet/fd": 3.0}
    assert named(look(0), look(300, **bad), look(600)) == [(600, "worse than one step")]
    assert named(look(0), look(300, **bad), look(600, **{"worse/frechet/fd": 0.5})) == []


def of_logits(real: float, fake: float, deviation: float, worse: tuple[float, ...] = ()) -> list[tuple[int, str]]:
    logits = {"logit__real": real, "logit__fake": fake, "logit__deviation": deviation}
    ticks = [tick(at - 100, **logits, accuracy__real=0.5, accuracy__fake=0.5) for at in (300, 600, 900)]
    metrics = [{"worse/a/fd": value} for value in worse] or [{}] * 3
    looks = [look(at, **metric) for at, metric in zip((300, 600, 900), metrics, strict=True)]
    return named(look(0), *(row for pair in zip(ticks, looks, strict=True) for row in pair))


def test_logits_of_a_discriminator_by_how_far_apart_they_lie() -> None:
    assert of_logits(0.3, -0.3, 2.0) == of_logits(-0.1, 0.0, 2.0) == []
    assert of_logits(-1.0, 1.0, 2.0) == of_logits(1.5, 1.5, 0.0) == [(600, "dead discriminator")]


def test_a_discriminator_wins_from_a_generator_that_does_not_learn() -> None:
    wins = [(600, "winning discriminator")]
    assert of_logits(3.0, -3.0, 2.0, (1.0, 1.0, 1.0)) == wins
    assert of_logits(3.0, -3.0, 2.0, (1.2, 1.1, 1.05)) == wins, "still worse than what it began with"
    assert of_logits(3.0, -3.0, 2.0, (0.94, 0.82, 0.63)) == [], "digits_uncond_dmd2 in its first kimg"
    assert of_logits(3.0, -3.0, 2.0, (0.3, 0.3, 0.3)) == [], "it has learned"
    assert of_logits(3.0, -3.0, 2.0) == [], "no metric tells"


def test_one_metric_that_improves_is_enough_and_is_compared_with_itself() -> None:
    watch = Watch(Guard(), 10)
    logits = {"logit__real": 3.0, "logit__fake": -3.0, "logit__deviation": 2.0}
    signs = []
    for at, a in ((300, 0.94), (600, 0.82), (900, 0.82), (1200, 0.82)):
        watch.see(tick(at - 100, **logits, accuracy__real=0.5, accuracy__fake=0.5))
        watch.see(look(at, **{"worse/a/fd": a, "worse/b/kid": 0.6}))  # b is better from the start, then stands still
        signs.append(sorted(watch.signs))
    assert signs == [[], [], ["winning discriminator"], ["winning discriminator"]]


def test_a_gradient_far_above_the_usual_and_skipped_updates() -> None:
    usual = [tick(at, grad_norm__generator=1.0) for at in range(100, 700, 100)]
    wild = [row for at in (700, 1000) for row in (tick(at, grad_norm__generator=1e3), look(at + 100))]
    assert named(look(0), *usual, look(650), *wild) == [(1100, "exploding gradient")]
    skips = [row for at in (300, 600, 900) for row in ({**tick(at), "skipped": at // 50}, look(at))]
    assert named(look(0), *skips) == [(600, "not finite")]


@pytest.mark.parametrize("action", ["warn", "stop", "return"])
def test_healthy_is_the_newest_look_without_a_sign(action: str) -> None:
    watch = Watch(Guard(action=action), 10)
    for row in (look(0), look(300), look(600), look(900, contrast=0.0), look(1200, contrast=0.0)):
        watch.see(row)
    assert (watch.healthy, [sign.since for sign in watch.collapsed]) == (600, [900])


def test_how_many_times_worse_a_metric_is() -> None:
    better = {"a/fd": "lower", "b/is": "higher"}
    found = relative({"a/fd": 6.0, "b/is": 2.0, "c/x": 1.0}, {"a/fd": 2.0, "b/is": 8.0}, better)
    assert found == {"worse/a/fd": 3.0, "worse/b/is": 4.0}
