"""Means over seeds, the value to reach and where it is reached: all worked by hand."""

from __future__ import annotations

import json
import math

import pytest

from distillkit.compare import Run, compare, curves, markdown, tables
from distillkit.compare.curves import Point, Spread
from distillkit.compare.direction import higher_is_better


def curve(*values):
    """Points at 1, 2, 3 ... kimg, 10 s apart."""
    return [Point(float(i), 10.0 * i, Spread(value, None, 1)) for i, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("frechet/fd", False), ("frechet/fd_test", False), ("frechet/kid", False), ("mixture/sw2", False),
        ("frechet/precision", True), ("mixture/modes_covered", True), ("frechet/label_agreement", True),
        ("x/mean_error", False), ("x/colour", None),
    ],
)  # fmt: skip
def test_where_no_result_tells_the_name_says_which_way_is_better(metric, expected):
    assert higher_is_better(metric, {}) is expected


@pytest.mark.parametrize(("way", "higher", "arrow"), [
    ("higher", True, " \N{UPWARDS ARROW}"), ("lower", False, " \N{DOWNWARDS ARROW}"), ("none", None, ""),
])  # fmt: skip
def test_what_a_result_tells_of_its_metric_comes_before_its_name(folder, way, higher, arrow):
    path = folder("sid", [4, 2])
    file = path / "result/metrics.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "better": {"m/fd": way}}))
    found = compare([Run.read(path), Run.read(folder("di", [4, 2]))], metrics=["m/fd"])
    assert found.higher("m/fd") is higher
    assert tables.final(found).head[1] == "fd" + arrow


def test_curves_are_means_with_sample_deviations_over_seeds(folder):
    runs = [Run.read(folder("sid", fds, seed=i)) for i, fds in enumerate([[4, 2], [6, 2]])]
    first, second = curves.mean_curve(runs, "m/fd")
    assert (first.kimg, first.seconds, first.value) == (1.0, 10.0, Spread(5.0, pytest.approx(math.sqrt(2)), 2))
    assert second.value == Spread(2.0, 0.0, 2)


def test_only_evaluations_that_all_seeds_made_are_points(folder):
    runs = [Run.read(folder("sid", fds, seed=i)) for i, fds in enumerate([[4, 2, 1], [6, 2]])]
    assert [point.kimg for point in curves.mean_curve(runs, "m/fd")] == [1.0, 2.0]


def test_a_value_that_is_not_finite_stays_visible(folder):
    runs = [Run.read(folder("sid", fds, seed=i)) for i, fds in enumerate([[4, "nan"], [6, 2]])]
    assert math.isnan(curves.mean_curve(runs, "m/fd")[1].value.mean)


def test_the_final_value_is_the_mean_of_the_last_three():
    assert curves.final_value(curve(100, 3, 2, 1)) == 2.0
    assert curves.final_value(curve(5.0)) == 5.0
    assert math.isnan(curves.final_value([]))


@pytest.mark.parametrize(
    ("value", "higher", "expected"), [(2.0, False, 2.1), (2.0, True, 1.9), (-2.0, False, -1.9), (0.0, False, 0.0)]
)
def test_nearly_is_on_the_worse_side_also_for_negative_values(value, higher, expected):
    assert curves.loosened(value, 0.05, higher) == pytest.approx(expected)


def test_a_value_is_reached_on_the_line_between_two_evaluations():
    place = curves.reached(curve(10, 6, 2), 3.0, higher=False)
    assert (place.kimg, place.seconds, place.exact) == (2.75, 27.5, True)
    place = curves.reached(curve(0.2, 0.6), 0.5, higher=True)
    assert place.kimg == pytest.approx(1.75)


def test_never_and_before_the_first_evaluation():
    assert curves.reached(curve(10, 6, 4), 3.0, higher=False) is None
    assert curves.reached(curve(), 3.0, higher=False) is None
    place = curves.reached(curve(2, 1), 3.0, higher=False)
    assert (place.kimg, place.exact) == (1.0, False)


def test_after_a_value_that_is_not_finite_the_next_evaluation_counts():
    place = curves.reached(curve(math.nan, 2), 3.0, higher=False)
    assert (place.kimg, place.exact) == (2.0, False)


def test_the_table_tells_images_seconds_and_their_shares(folder):
    base, fast, slow = folder("base", [9, 6, 2, 2, 2]), folder("fast", [4, 2, 1, 1, 1]), folder("slow", [9] * 5)
    found = compare([Run.read(path) for path in (base, fast, slow)], within=0.0)
    (target,) = found.targets
    assert (target.metric, target.final, target.value, target.higher) == ("m/fd", 2.0, 2.0, False)
    table = tables.way(found, target)
    told = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert told == {
        "base": ["1", "3 (100 %)", "30 (100 %)", "100"],
        "fast": ["1", "2 (67 %)", "20 (67 %)", "100"],
        "slow": ["1", "never", "never", "100"],
    }
    assert not any(cell.best for row in table.rows for cell in row), "one seed each: nothing is known of chance"
    assert table.title == "until m/fd \N{LESS-THAN OR EQUAL TO} 2: the final value of base"


def test_final_values_come_with_spread_teacher_and_floor(folder):
    paths = [folder("a", [4, 2], seed=0), folder("a", [4, 3], seed=1), folder("b", [4, 4])]
    table = tables.final(compare([Run.read(path) for path in paths]))
    assert table.head == ["", "fd \N{DOWNWARDS ARROW}"]
    told = {row[0].text: row[1] for row in table.rows}
    assert told["a"] == tables.Cell("2.5 \N{PLUS-MINUS SIGN} 0.71", False)
    assert told["b"] == tables.Cell("4", False)
    assert (told["teacher"].text, told["floor: real v real"].text) == ("1.5", "0.5")


def test_a_metric_where_more_is_better_is_reached_from_below(folder):
    base = folder("base", [2] * 4, rising=[0.1, 0.8, 0.8, 0.8])
    found = compare([Run.read(base)], metrics=["recall"], within=0.5)
    (target,) = found.targets
    assert (target.higher, target.value) == (True, pytest.approx(0.4))
    assert found.reached(found.baseline, target).kimg == pytest.approx(1 + 0.3 / 0.7)


def test_markdown_has_every_table(folder):
    text = markdown(compare([Run.read(folder("a|b", [4, 2])), Run.read(folder("c", [4, 1]))]))
    assert "| a\\|b | 2 |" in text and "| c | 1 |" in text
    assert text.count("|---|") == 2
