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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.2, "0:08"), (185, "3:05"), (3723, "1:02:03"), (45_000, "12h 30m"), (100 * 86400 + 7200, "100d 02h")],
)
def test_a_clock_is_short(seconds, text):
    assert formats.clock(seconds) == text


def test_numbers_fit_into_columns_and_keep_their_zeros():
    assert [formats.fitted(x, 7) for x in (1.65, 237.0, 2453.0, -1.234e-5, 0.0008491)] == [
        "1.650", "237.0", "2453", "-1e-05", "0.00085",
    ]  # fmt: skip
    assert formats.short("discriminator", 8) == "discrim." and formats.short("critic", 8) == "critic"


def test_a_value_has_no_more_digits_than_its_spread_knows():
    assert formats.measured(0.06457, 0.0055) == "0.0646 \u00b1 0.0055"
    assert [formats.measured(1.0, sd) for sd in (None, 0.0)] == ["1"] * 2
    assert formats.measured(float("nan"), float("nan")) == "nan \u00b1 nan"
