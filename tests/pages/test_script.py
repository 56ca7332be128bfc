"""What a person does with a page, by mouse and by keys; and that nothing of it is needed to see all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distillkit.show.axes import Axis
from distillkit.show.svg import BOTTOM, HEIGHT, LEFT, TOP

See, Address = Callable[..., Any], Callable[[str], str]
FD, LOSS = 'div:has(> .plot > svg[aria-label="{}"])'.format, "loss/generator"


@pytest.fixture
def page(see: See, address: Address) -> Any:
    """The report of the finished run."""
    return see(address("finished"))


def places(chart: Any) -> list[float]:
    """Of the points of its curve that is last in front."""
    text = chart.locator("polyline.curve").last.get_attribute("points")
    return [float(number) for number in re.split("[ ,]", text)]


def labels(chart: Any) -> list[str]:
    return chart.locator("text.label").all_text_contents()


def pull(page: Any, chart: Any, start: float, stop: float) -> None:
    """Drag the mouse over the plot from one share of its width to another."""
    chart.scroll_into_view_if_needed()
    box = chart.locator("svg").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + stop * box["width"], y, steps=3)
    page.mouse.up()


def test_without_a_script_every_chart_and_every_sheet_is_there(see: See, address: Address) -> None:
    page = see(address("finished"), script=False)
    assert page.locator("svg .curve").count() >= 12 and page.locator("button").count() == 0
    page.locator("details.sheets summary").click()
    assert [image.is_visible() for image in page.locator("figure.sheet img").all()] == [True] * 9


@pytest.mark.parametrize("name", ["finished", "collapsed", "compare", "study"])
def test_the_script_draws_what_the_page_had(name: str, see: See, address: Address) -> None:
    page = see(address(name))
    drawn = """all => all.map(svg => [...svg.querySelectorAll("polyline, polygon, text, line, circle.dot, .bad")].map(
        one => [one.getAttribute("class"), one.querySelector("title") ? "" : one.textContent,
                ...["points", "d", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy"].map(key => one.getAttribute(key))]))"""
    before = page.eval_on_selector_all("svg[data-chart]", drawn)
    for plot in page.locator(".plot").all():
        plot.focus()
        plot.press("End")  # what is not drawn by the script yet is drawn for a key
        plot.evaluate("plot => plot.blur()")
    after = page.eval_on_selector_all("svg[data-chart]", drawn)
    for old, new in zip(before, after, strict=True):
        assert [rounded(one) for one in sorted(old, key=str)] == [rounded(one) for one in sorted(new, key=str)]


def rounded(one: list[str | None]) -> list[Any]:
    """Numbers to half a pixel: two languages round ends of digits apart."""
    return [
        one[0],
        one[1],
        *(text and [round(2 * float(number)) // 2 for number in re.findall(r"-?[\d.]+", text)] for text in one[2:]),
    ]


def test_keys_read_values_along_a_curve(page: Any) -> None:
    plot = page.locator(FD("frechet/fd")).locator(".plot")
    plot.focus()
    plot.press("ArrowLeft")
    assert plot.locator("output").inner_text().split("\n") == ["64 kimg", "0.1537 \N{PLUS-MINUS SIGN} 0.012"]
    plot.press("ArrowLeft")
    assert plot.locator("output").inner_text().startswith("56 kimg")
    plot.press("Home")
    assert plot.locator("output").inner_text().startswith("8 kimg") and plot.locator(".cross line").count() == 1


def test_a_mouse_reads_values_and_leaves_nothing_behind(page: Any) -> None:
    chart = page.locator(FD("frechet/fd"))
    chart.locator("svg").hover(position={"x": 60, "y": 80})
    assert "8 kimg" in chart.locator("output").inner_text()
    page.mouse.move(0, 0)
    assert not chart.locator("output").is_visible()


def test_a_part_is_drawn_out_and_the_whole_comes_back(page: Any) -> None:
    chart = page.locator(FD(LOSS))
    chart.locator(".plot").focus()
    chart.locator(".plot").press("End")
    whole = places(chart), labels(chart)
    pull(page, chart, 0.5, 0.7)
    assert labels(chart) != whole[1] and chart.get_by_role("button", name="whole").is_visible()
    assert min(places(chart)) < 0  # what lies outside is cut by the frame
    chart.get_by_role("button", name="whole").click()
    assert (places(chart), labels(chart)) == whole and not chart.get_by_role("button", name="whole").is_visible()


def test_keys_zoom_too(page: Any) -> None:
    chart = page.locator(FD(LOSS))
    plot = chart.locator(".plot")
    plot.focus()
    plot.press("End")
    whole = labels(chart)
    plot.press("+")
    assert labels(chart) != whole and labels(chart)[-1] == "kimg"
    plot.press("0")
    assert labels(chart) == whole


def test_a_y_axis_becomes_logarithmic_and_linear(page: Any) -> None:
    chart = page.locator(FD("frechet/fd"))
    log = chart.get_by_role("button", name="log")
    assert log.get_attribute("aria-pressed") == "false"
    log.press("Enter")
    data = json.loads(chart.locator("svg").get_attribute("data-chart"))
    values, deviations = data["curves"][0]["y"], data["curves"][0]["sd"]
    edges = [y + side * sd for y, sd in zip(values, deviations, strict=True) for side in (-1, 1)]
    axis = Axis.up([*values, *edges, *data["references"].values()], HEIGHT - BOTTOM, TOP, log=True)
    assert places(chart)[1::2] == pytest.approx([axis.at(y) for y in values], abs=0.11)
    assert log.get_attribute("aria-pressed") == "true"
    log.press("Enter")
    assert places(chart)[1::2] != pytest.approx([axis.at(y) for y in values], abs=1)


def test_smoothing_draws_an_average_over_the_curve(page: Any) -> None:
    chart = page.locator(FD(LOSS))
    page.locator("section#training").get_by_label("smoothing").fill("0.9")
    assert chart.locator("polyline.raw").count() == 1
    rough, smooth = (chart.locator("polyline.curve").nth(i).get_attribute("points") for i in (0, 1))
    heights = [[float(place.split(",")[1]) for place in text.split()] for text in (rough, smooth)]
    assert max(heights[1]) - min(heights[1]) < 0.7 * (max(heights[0]) - min(heights[0]))
    others = page.get_by_label("smoothing").evaluate_all("all => all.map(one => one.value)")
    assert set(others) == {"0.9"}
    page.locator("section#training").get_by_label("smoothing").fill("0")
    assert chart.locator("polyline.raw").count() == 0


def test_the_x_axis_is_time_as_well(page: Any) -> None:
    chart = page.locator(FD(LOSS))
    over = page.locator("section#training").get_by_role("button", name="over time")
    over.click()
    assert labels(chart)[-1] == "minutes" and "10" in labels(chart)
    assert places(chart)[0] == LEFT
    over.click()
    assert labels(chart)[-1] == "kimg"


def test_a_line_is_hidden_and_the_axis_follows(page: Any) -> None:
    chart = page.locator(FD("frechet/precision"))
    floor = chart.get_by_role("button", name="floor")
    floor.click()
    assert "floor 0.91" not in labels(chart) and "0.9" not in labels(chart)
    floor.click()
    assert "floor 0.91" in labels(chart)


def test_a_group_of_a_comparison_is_hidden_in_every_chart(see: See, address: Address) -> None:
    page = see(address("compare"))
    charts = page.locator("svg[data-chart]").count()
    page.locator(".legend").get_by_role("button", name="sid2a 2 seeds", exact=True).press("Enter")
    assert page.locator("polyline.s1:not(.dash1)").count() == 0
    assert page.locator("polyline.s0:not(.dash1)").count() == charts == 4


def test_a_chart_is_saved_as_a_table(page: Any, tmp_path: Path) -> None:
    with page.expect_download() as saved:
        page.locator(FD("frechet/fd")).get_by_role("button", name="CSV").click()
    assert saved.value.suggested_filename == "frechet_fd.csv"
    saved.value.save_as(tmp_path / "x.csv")
    lines = (tmp_path / "x.csv").read_text().splitlines()
    assert lines[0] == "curve,kimg,seconds,value,deviation" and len(lines) == 9
    assert lines[-1].startswith("frechet/fd,64,608,0.15368")


def test_a_number_that_is_not_finite_is_saved_as_one(see: See, address: Address, tmp_path: Path) -> None:
    page = see(address("collapsed"))
    with page.expect_download() as saved:
        page.locator(FD(LOSS)).get_by_role("button", name="CSV").click()
    saved.value.save_as(tmp_path / "x.csv")
    assert "loss/generator,40,380,nan," in (tmp_path / "x.csv").read_text().splitlines()


def test_a_command_is_copied(see: See, address: Address) -> None:
    page = see(address("0001-tiny"), permissions=["clipboard-read", "clipboard-write"])
    code = page.locator(".next code").first
    page.locator(".next").get_by_role("button", name="copy").first.press("Enter")
    page.wait_for_function("document.querySelector('.next button').textContent === 'copied'")
    assert page.evaluate("navigator.clipboard.readText()") == code.inner_text()


def test_sheets_are_leafed_through_by_keys(page: Any) -> None:
    slider, image = page.get_by_label("sheet", exact=True), page.locator(".leaf img")
    assert page.locator(".leaf figcaption").inner_text().startswith("64 kimg")
    last = image.get_attribute("src")
    slider.press("ArrowLeft")
    assert page.locator(".leaf figcaption").inner_text().startswith("56 kimg") and image.get_attribute("src") != last
    assert slider.get_attribute("aria-valuetext").startswith("56 kimg")
    slider.press("Home")
    assert image.get_attribute("alt").startswith("0 kimg")
    assert image.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"


def test_a_watched_report_has_its_script_too(see: See, address: Address) -> None:
    page = see(address("watch/runs/0001-tiny/"))
    page.frame_locator("iframe").locator(".next button").first.wait_for()


def test_a_report_that_comes_anew_while_it_is_watched_is_smoothed_as_before(see: See, address: Address) -> None:
    page = see(address("watch/runs/finished/"))
    frame = page.frame_locator("iframe")
    frame.get_by_label("smoothing").first.fill("0.9")
    frame.get_by_role("button", name="over time").first.click()
    page.evaluate("document.querySelector('iframe').contentWindow.location.reload()")
    frame.locator("html.scripted").wait_for()
    frame.locator("polyline.raw").first.wait_for()
    assert frame.get_by_label("smoothing").first.input_value() == "0.9"
    assert frame.get_by_role("button", name="over time").first.get_attribute("aria-pressed") == "true"


def test_nothing_to_press_is_printed(page: Any) -> None:
    page.emulate_media(media="print")
    assert not any(one.is_visible() for one in page.locator("button, .bar input").all())
    assert page.locator("svg[data-chart]").first.is_visible()
