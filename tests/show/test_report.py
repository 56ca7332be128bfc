"""The page of a run: its numbers, well-formed, self-contained, escaped."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

import distillkit
from distillkit.api import InputError
from distillkit.disk import results
from distillkit.images import pictures
from distillkit.show.report import write_report

VOID = {"meta", "img", "br", "hr", "link", "wbr"}


class Checker(HTMLParser):
    """Collects what a page opens and never closes, and every attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.attributes, self.seen = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def row(what, nimg, **values):
    return {"what": what, "nimg": nimg, "kimg": nimg / 1000, "seconds": nimg / 100, **values}


@pytest.fixture
def run(tmp_path):
    rows = [
        row("tick", 1000, **{"loss/generator": 0.5, "lr/generator": 1e-5, "skipped": 0}),
        row("evaluate", 1000, **{"frechet/fd": 9.876, "frechet/fd_floor": 0.421}),
        row("tick", 2000, **{"loss/generator": "nan", "lr/generator": 1e-5, "skipped": 1}),
        row("tick", 3000, **{"loss/generator": 0.25, "lr/generator": 1e-5, "skipped": 1}),
        row("evaluate", 3000, **{"frechet/fd": 2.345, "frechet/fd_floor": 0.421, "frechet/fd_sd": 0.0567}),
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (tmp_path / "result").mkdir()
    final = {"frechet/fd": 2.345, "frechet/fd_floor": 0.421, "frechet/fd_sd": 0.0567}
    teacher = {"metrics": {"frechet/fd": 1.234, "frechet/fd_floor": 0.5}, "nfe": 35}
    scores = {"metrics": final, "nfe": 1, "seconds": 30.0, "nimg": 3000, "teacher": teacher}
    (tmp_path / "result/metrics.json").write_text(json.dumps(scores))
    made = {"recipe": "x<y", "created": "2026-01-02T03:04:05+00:00", "versions": {"torch": "2.13.0"}}
    (tmp_path / "run.json").write_text(json.dumps(made))
    (tmp_path / "exit.json").write_text(json.dumps({"code": 0, "reason": "finished"}))
    (tmp_path / "resolved.toml").write_text('schema = 1\n\n[run]\nkimg = 3.0\nnote = "<script>&"\n')
    for name in ("kimg-000000.000", "kimg-000001.000", "kimg-000003.000", "comparison"):
        pictures.grid(torch.zeros(2, 1, 8, 8), tmp_path / f"samples/{name}.png")
    return tmp_path


def text_of(run):
    path = write_report(run)
    assert path == run / "report.html"
    return path.read_text()


def test_the_page_is_well_formed(run):
    checker = Checker()
    checker.feed(text_of(run))
    assert checker.open == []
    assert {"table", "svg", "pre", "figure"} <= set(checker.seen)


def test_every_chart_is_well_formed_xml(run):
    charts = re.findall(r"<svg.*?</svg>", text_of(run), re.S)
    assert [ElementTree.fromstring(chart).get("aria-label") for chart in charts] == [
        "frechet/fd", "loss/generator", "skipped",
    ]  # fmt: skip


def test_the_page_refers_to_nothing_outside_itself(run):
    checker = Checker()
    text = text_of(run)
    checker.feed(text)
    assert (
        "http:" not in text
        and "https:" not in text
        and "url(" not in text.replace("url(#", "")
        and "@import" not in text
    )
    links = [value for name, value in checker.attributes if name in ("src", "href", "srcset", "action", "data")]
    inside = {f"#{value}" for name, value in checker.attributes if name == "id"}
    assert links and all(value in inside or value.startswith("data:image/png;base64,") for value in links)
    assert checker.seen.count("script") == 1  # whose hash is in the page's policy


def test_teacher_student_spread_and_floor_stand_in_one_row(run):
    (line,) = re.findall(r'<tr><th scope="row">frechet/fd.*?</tr>', text_of(run).replace("<wbr>", ""))
    assert re.sub(r"<[^>]+>", " ", line).split() == ["frechet/fd", "1.234", "2.345", "&plusmn;", "0.057", "0.421"]


def test_names_and_recipe_are_escaped(run):
    text = text_of(run)
    assert "<title>x&lt;y</title>" in text
    assert '"&lt;script&gt;&amp;"' in text and "<script>&" not in text


def test_every_sheet_is_embedded_the_first_and_the_last_before_those_between(run):
    pictures = text_of(run).partition('id="pictures"')[2].partition("</section>")[0]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", pictures)
    assert captions[0].startswith("comparison: real images, the teacher&#x27;s (NFE 35) and the student&#x27;s (NFE 1)")
    assert captions[1:] == ["0 kimg, NFE 1", "3 kimg, NFE 1", "1 kimg, NFE 1"]
    assert "<summary>1 sheet between</summary>" in pictures


def test_a_caption_says_which_images(run):
    (run / "resolved.toml").write_text("[run]\nkimg = 3.0\ngrid = 80\n[dataset]\nconditional = true\n")
    assert 'alt="3 kimg, NFE 1, images 0 to 79 of seed 0, classes take turns"' in text_of(run)


def test_numbers_that_are_not_finite_are_shown(run):
    text = text_of(run)
    assert 'class="bad"' in text and "updates skipped (not finite): 1<" in text


def test_a_failed_run_says_why(run):
    (run / "exit.json").write_text(json.dumps({"code": 4, "reason": "diverged: <3 losses>"}))
    assert "ended with code 4</span> diverged: &lt;3 losses&gt;" in text_of(run)


def test_a_damaged_file_is_named(run):
    (run / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run.json"):
        write_report(run)


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    checker = Checker()
    checker.feed(text_of(tmp_path))
    assert checker.open == [] and "not finished" in (tmp_path / "report.html").read_text()


def test_a_run_without_a_result_shows_its_last_evaluation(run):
    (run / "result/metrics.json").unlink()
    text = text_of(run)
    assert "this run" in text and "2.345" in text and "1.234" not in text


def test_writing_twice_gives_the_same_page(run):
    assert text_of(run) == text_of(run)


def test_floors_and_spreads_are_columns_only_beside_their_metric():
    (fd, odd) = results.table({"fd": 2.0, "fd_sd": 0.1, "fd_floor": 0.5, "dance_floor": 3.0}, {"fd": 1.0})
    assert (fd.name, fd.teacher, fd.student, fd.student_sd, fd.floor) == ("fd", 1.0, 2.0, 0.1, 0.5)
    assert (odd.name, odd.student, odd.floor) == ("dance_floor", 3.0, None)


@pytest.mark.parametrize("sheet", ["show/page.css", "compare/compare.css"])
def test_no_column_of_charts_is_wider_than_a_phone(sheet):
    css = (Path(distillkit.__file__).parent / sheet).read_text()
    columns = re.findall(r"minmax\((.+?), 1fr\)", css)
    assert columns and all(column.startswith("min(100%, ") for column in columns)
