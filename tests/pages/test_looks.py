"""Every page on a phone, a tablet and a desk, light and dark: nothing is cut, and axe-core finds nothing serious."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPORTS = "finished", "running", "collapsed", "damaged", "0001-tiny"
PAGES = (*REPORTS, "compare", "study", "watch/", "watch/runs/0001-tiny/")
WIDTHS = 390, 768, 1280
FOLDER = os.environ.get("SCREENSHOTS")  # where each page goes as a picture, for eyes; none: they are not taken
LOOK = Path(__file__).with_name("look.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_at_any_width(
    name: str, scheme: str, see: Callable[..., Any], address: Callable[[str], str]
) -> None:
    page = see(address(name), scheme=scheme)
    found = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        found[width] = [wrong for frame in page.frames for wrong in frame.evaluate(LOOK)]
        if FOLDER:
            page.screenshot(
                path=Path(FOLDER) / f"{name.strip('/').replace('/', '-')}-{width}-{scheme}.png", full_page=True
            )
    assert found == {width: [] for width in WIDTHS}


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_without_a_script(name: str, see: Callable[..., Any], address: Callable[[str], str]) -> None:
    page = see(address(name), width=390, script=False)
    assert page.evaluate(LOOK) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(
    name: str, scheme: str, axe: str, see: Callable[..., Any], address: Callable[[str], str]
) -> None:
    page = see(address(name), width=390, scheme=scheme, bypass_csp=True)
    for frame in page.frames:
        frame.evaluate(axe)
    found = page.evaluate("axe.run().then(result => result.violations)")
    told = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
    assert told == []


@pytest.mark.parametrize("name", REPORTS)
def test_the_students_numbers_are_seen_on_a_phone(
    name: str, see: Callable[..., Any], address: Callable[[str], str]
) -> None:
    page = see(address(name), width=390)
    boxes = page.eval_on_selector_all(
        ".scores td.student", "all => all.map(cell => cell.getBoundingClientRect().right)"
    )
    assert all(0 < right <= 390 for right in boxes) and (boxes or name == "damaged")
