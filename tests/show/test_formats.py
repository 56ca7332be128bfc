"""Numbers and times as people read them."""

from __future__ import annotations

import pytest

from distillkit.show import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1"), (0.012345, "0.01235"), (12345.6, "12346"), (1.2e-5, "1.2e-05"), (2.5e7, "2.5e+07"),
     (float("nan"), "nan"), (float("-inf"), "-inf"), (-3.14159, "-3.142")],
)  # fmt: skip
def test_numbers_have_four_digits(value, text):
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (100800, "1 d 4 h")],
)
def test_durations_have_two_units_at_most(seconds, text):
    assert formats.duration(seconds) == text


def test_named_numbers_drop_the_word_loss():
    assert formats.numbers({"loss/generator": 0.5, "weight/embedding": 100.0}) == "generator 0.5  weight/embedding 100"


def test_kimg_has_no_more_digits_than_needed():
    assert [formats.kimg(n) for n in (64, 12500, 256_000)] == ["0.064", "12.5", "256"]


def test_rates_have_three_digits():
    assert [formats.rate(r) for r in (0.523, 52.13, 5213.4)] == ["0.523", "52.1", "5213"]
