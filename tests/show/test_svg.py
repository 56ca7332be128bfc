"""Charts: round ticks, places of points, gaps at numbers that are not finite."""

from __future__ import annotations

import itertools
import json
import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillkit.show import axes, svg


def drawn(points, **more):
    return ElementTree.fromstring(svg.draw(svg.Chart(title="loss & <more>", points=points, **more)))


def of_class(root, name):
    return [element for element in root.iter() if element.get("class") == name]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 128, [0, 50, 100]),
        (-0.31, 0.05, [-0.3, -0.2, -0.1, 0.0]),
        (1e-6, 3e-6, [1e-6, 1.5e-6, 2e-6, 2.5e-6, 3e-6]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert axes.ticks(low, high) == pytest.approx(expected, abs=1e-12)


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6))
@settings(max_examples=50, derandomize=True, deadline=None)
def test_there_are_two_to_seven_ticks_in_any_range(low, span):
    assert 2 <= len(axes.ticks(low, low + span)) <= 7


def test_the_first_point_is_at_the_left_end_and_the_last_at_the_right():
    (curve,) = of_class(drawn([(1.0, 5.0), (2.0, 6.0), (3.0, 5.5)]), "curve")
    places = [tuple(map(float, place.split(","))) for place in curve.get("points").split()]
    assert [x for x, _ in places] == [svg.LEFT, (svg.LEFT + svg.WIDTH - svg.RIGHT) / 2, svg.WIDTH - svg.RIGHT]
    assert places[1][1] < places[2][1] < places[0][1]  # larger is higher


def test_every_point_tells_its_numbers_on_hover():
    hits = of_class(drawn([(12.5, 0.25), (25.0, 0.125)]), "hit")
    assert [hit.find("title").text for hit in hits] == ["12.5 kimg: 0.25", "25 kimg: 0.125"]


def test_a_value_that_is_not_finite_breaks_the_curve_and_is_marked():
    root = drawn([(1, 1.0), (2, 2.0), (3, math.nan), (4, 2.0), (5, 1.0)])
    assert len(of_class(root, "curve")) == 2
    (bad,) = of_class(root, "bad")
    assert bad.find("title").text == "3 kimg: nan"


def test_reference_lines_are_named_with_their_value():
    root = drawn([(1, 1.0), (2, 2.0)], references={"teacher": 1.5, "floor": 0.5})
    texts = [element.text for element in root.iter("text")]
    assert "teacher 1.5" in texts and "floor 0.5" in texts


def test_a_wide_range_of_positive_values_gets_a_logarithmic_axis():
    (curve,) = of_class(drawn([(1, 1.0), (2, 11.0), (3, 121.0)]), "curve")
    heights = [float(place.split(",")[1]) for place in curve.get("points").split()]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.11)


@pytest.mark.parametrize("points", [[], [(1, 2.0)], [(1, 3.0), (2, 3.0)], [(1, 0.0), (2, 0.0)], [(1, math.inf)]])
def test_few_equal_or_no_finite_points_are_no_problem(points):
    assert drawn(points).tag == "svg"


def test_a_curve_to_compare_with_lies_behind_on_the_same_axes_and_is_named():
    root = drawn([(0, 1.0), (1, 2.0)], behind=[(0, 1.0), (2, 4.0), (3, math.nan)], behind_label="a & b as shipped")
    line, _, name = of_class(root, "behind")
    (curve,) = of_class(root, "curve")
    order = list(root)
    assert order.index(line) < order.index(curve)
    assert (line.find("title").text, name.text) == ("a & b as shipped", "a & b as shipped")
    ours, theirs = ([tuple(map(float, p.split(","))) for p in e.get("points").split()] for e in (curve, line))
    assert ours[0] == theirs[0] and theirs[1][0] == svg.WIDTH - svg.RIGHT  # where the longer one ends
    assert ours[1][0] == (svg.LEFT + svg.WIDTH - svg.RIGHT) / 2


def test_without_one_nothing_lies_behind():
    assert of_class(drawn([(0, 1.0), (1, 2.0)]), "behind") == []


def several(*curves, **more):
    series = [svg.Series(name=f"s{i}", css=f"s{i}", **curve) for i, curve in enumerate(curves)]
    return ElementTree.fromstring(svg.draw(svg.Chart(title="m", series=series, **more)))


def curves_of(root, css):
    return [element for element in of_class(root, f"curve {css}") if element.tag == "polyline"]


def heights(element):
    return [float(place.split(",")[1]) for place in element.get("points").split()]


def test_a_band_is_one_deviation_to_each_side_of_its_mean():
    root = several({"points": [(0, 2.0), (1, 2.0)], "spreads": [1.0, 1.0]})
    (band,), (mean,) = of_class(root, "band s0"), curves_of(root, "s0")
    assert heights(band)[0] < heights(mean)[0] < heights(band)[-1]
    assert heights(band)[0] + heights(band)[-1] == pytest.approx(2 * heights(mean)[0], abs=0.2)


def test_without_spread_there_is_no_band_and_a_gap_splits_the_curve():
    root = several({"points": [(0, 1.0), (1, math.nan), (2, 2.0), (3, 1.0)]}, {"points": [(0, 1.0), (2, 3.0)]})
    assert of_class(root, "band s0") == []
    assert len(curves_of(root, "s0")) == 1 and len(of_class(root, "dot s0")) == 3
    assert len(curves_of(root, "s1")) == 1


def test_a_band_that_reaches_below_zero_leaves_a_logarithmic_axis():
    root = several({"points": [(0, 1000.0), (1, 1.0)], "spreads": [1.0, 2.0]})
    assert all(0 < height < svg.HEIGHT for height in heights(of_class(root, "band s0")[0]))


def test_curves_are_named_at_their_ends_and_names_lie_apart_within_the_chart():
    root = several(*({"points": [(0, 1.0), (1, 2.0 + i / 1000)]} for i in range(9)))
    ends = {text.text: float(text.get("y")) for text in root.iter("text") if text.get("class") == "end"}
    assert sorted(ends, key=ends.get) == [f"s{i}" for i in reversed(range(9))]
    gaps = [b - a for a, b in itertools.pairwise(sorted(ends.values()))]
    assert min(gaps) >= svg.LINE - 0.2 and svg.TOP <= min(ends.values()) and max(ends.values()) < svg.HEIGHT - 20


@given(st.lists(st.floats(svg.TOP, svg.HEIGHT - svg.BOTTOM), max_size=14).map(sorted))
@settings(max_examples=50, derandomize=True, deadline=None)
def test_names_at_ends_keep_their_order_and_stay_within(places):
    found = svg.spread(places)
    assert found == sorted(found) and all(svg.TOP - 1e-6 <= y <= svg.HEIGHT - svg.BOTTOM + 1e-6 for y in found)
    assert all(b - a >= svg.LINE - 1e-6 for a, b in itertools.pairwise(found))


def test_a_long_name_keeps_the_end_that_tells_it_from_others():
    assert svg.shortened("sid2a embedding loss ratio=0.5").endswith("ratio=0.5")
    assert len(svg.shortened("x" * 99)) == svg.END


def test_a_wobble_of_a_hundredth_does_not_fill_the_chart():
    (curve,) = of_class(drawn([(0, 100.0), (1, 101.0), (2, 100.0)]), "curve")
    assert max(heights(curve)) - min(heights(curve)) < 0.11 * (svg.HEIGHT - svg.BOTTOM - svg.TOP)


def test_a_curve_that_comes_near_zero_stands_on_it():
    (curve,) = of_class(drawn([(0, 10.0), (1, 2.0), (2, 0.5)]), "curve")
    share = 0.5 / 10.6
    bottom, top = svg.HEIGHT - svg.BOTTOM, svg.TOP
    assert heights(curve)[-1] == pytest.approx(bottom - share * (bottom - top), abs=0.1)


def test_a_chart_carries_its_numbers_and_says_them_in_words():
    root = drawn([(0, 4.0), (1, math.nan), (2, 0.123456789)], seconds=[0, 5, 10], references={"teacher": 1.0})
    data = json.loads(root.get("data-chart"))
    assert data["curves"][0]["y"] == [4.0, None, 0.123457] and data["curves"][0]["seconds"] == [0, 5, 10]
    assert root.find("desc").text == "4 at 0 kimg, 0.1235 at 2 kimg; teacher 1"
