"""Colours of pages: series that colour-blind eyes tell apart, and text that everyone can read, light and dark."""

from __future__ import annotations

import math
import re
from importlib import resources
from itertools import combinations

import pytest

from distillkit.compare.charts import COLOURS

Triple = tuple[float, float, float]
EYES = {  # of linear RGB: Machado, Oliveira, Fernandes 2009, severity 1
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}  # fmt: skip
XYZ = (0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041)
WHITE = 0.95047, 1.0, 1.08883


def theme(dark: bool) -> dict[str, str]:
    """Variables of the styles that comparisons have, in one theme."""
    found: dict[str, str] = {}
    for room, name in (("show", "page.css"), ("compare", "compare.css")):
        css = resources.files(f"distillkit.{room}").joinpath(name).read_text(encoding="utf-8")
        first, _, second = css.partition("@media (prefers-color-scheme: dark)")
        for part in [first, second.partition("} }")[0]][: 1 + dark]:
            found.update(re.findall(r"--([\w]+): (#[0-9a-f]{6})", part))
    return found


def linear(colour: str) -> Triple:
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return r, g, b


def times(matrix: tuple[Triple, ...], vector: Triple) -> Triple:
    x, y, z = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return x, y, z


def lab(rgb: Triple) -> Triple:
    ratios = [value / white for value, white in zip(times(XYZ, rgb), WHITE, strict=True)]
    x, y, z = (v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in ratios)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def ciede2000(one: Triple, other: Triple) -> float:
    """Sharma, Wu, Dalal 2005."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    g = 0.5 * (1 - math.sqrt(mean**7 / (mean**7 + 25**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = math.degrees(math.atan2(b1, a1)) % 360, math.degrees(math.atan2(b2, a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    dl, dc, dh = l2 - l1, c2 - c1, 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    light, c = (l1 + l2) / 2, (c1 + c2) / 2
    t = 1 - 0.17 * cos(hue - 30) + 0.24 * cos(2 * hue) + 0.32 * cos(3 * hue + 6) - 0.2 * cos(4 * hue - 63)
    sl, sc, sh = 1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2), 1 + 0.045 * c, 1 + 0.015 * c * t
    rotation = -2 * math.sqrt(c**7 / (c**7 + 25**7)) * math.sin(math.radians(60 * math.exp(-(((hue - 275) / 25) ** 2))))
    return math.sqrt((dl / sl) ** 2 + (dc / sc) ** 2 + (dh / sh) ** 2 + rotation * dc / sc * dh / sh)


def cos(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def seen(colour: str, eyes: str) -> Triple:
    r, g, b = (min(max(value, 0.0), 1.0) for value in times(EYES[eyes], linear(colour)))
    return lab((r, g, b))


def contrast(one: str, other: str) -> float:
    low, high = sorted(times(XYZ, linear(colour))[1] for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425), ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
     ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
     ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082)],
)  # fmt: skip
def test_the_difference_is_that_of_the_published_pairs(one: Triple, other: Triple, expected: float) -> None:
    assert ciede2000(one, other) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("eyes", EYES)
def test_the_colours_of_series_are_told_apart(eyes: str, dark: bool) -> None:
    colours = [theme(dark)[f"s{i}"] for i in range(COLOURS)]
    distances = {pair: ciede2000(seen(pair[0], eyes), seen(pair[1], eyes)) for pair in combinations(colours, 2)}
    assert len(distances) == 15 and min(distances.values()) >= 10, distances


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_lines_stand_out_from_what_they_lie_on(dark: bool) -> None:
    found = theme(dark)
    for ground in ("paper", "card"):
        for name in ("ink", "soft", "curve", "ref0", "ref1", "bad", "good"):
            assert contrast(found[name], found[ground]) >= 4.5, (name, ground)
        for i in range(COLOURS):
            assert contrast(found[f"s{i}"], found[ground]) >= 3, (i, ground)
