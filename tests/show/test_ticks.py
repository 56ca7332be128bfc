"""Lines of a run: one a tick, in columns, whatever the losses are called; metrics beside the teacher's."""

from __future__ import annotations

import pytest

from distillkit.disk.results import Row, Scores
from distillkit.show.scores import Heads, score_lines
from distillkit.show.screen import QuietScreen
from distillkit.show.ticks import EVERY, Ticks

MANY = {
    "loss/adversarial": 4.539, "loss/discriminator": 177.5, "loss/embedding": 0.001282, "loss/fake_score": 207.9,
    "loss/generator": -48.5, "weight/embedding": 5621.0,
}  # fmt: skip


def test_a_tick_is_one_aligned_line_of_80_columns_at_most_and_names_are_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ticks = Ticks(QuietScreen(), 8000)
    for nimg in (1600, 8000):
        ticks.tick(nimg, 64.6, nimg / 64.6, MANY, 0)
    told, head, *lines = capsys.readouterr().out.splitlines()
    assert told == "no room for w/embedding: metrics.jsonl and the page have all"
    assert head.split() == [
        "kimg",
        "img/s",
        "elapsed",
        "left",
        "advers.",
        "discrim.",
        "embeddi.",
        "fake_sc.",
        "generat.",
    ]
    assert lines[0].split() == ["1.600", "65", "0:25", "1:39", "4.539", "177.5", "0.001282", "207.9", "-48.50"]
    assert {len(text) for text in (head, *lines)} <= {78, 79, 80}


def test_wide_terminals_have_whole_names_and_all_numbers(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    Ticks(QuietScreen(), 8000).tick(1600, 64.6, 25.0, MANY, 0)
    head, line = capsys.readouterr().out.splitlines()
    assert "discriminator" in head and "w/embedding" in head and line.split()[-1] == "5621" and len(line) <= 120


def test_the_header_comes_again_after_some_lines_after_a_table_and_with_a_new_loss(capsys):
    ticks = Ticks(QuietScreen(), 512_000)

    def heads():
        return sum(line.startswith(" kimg") and "img/s" in line for line in capsys.readouterr().out.splitlines())

    for _ in range(EVERY + 1):
        ticks.tick(1000, 10.0, 1.0, {"loss/a": 1.0}, 0)
    assert heads() == 2
    ticks.tick(1000, 10.0, 1.0, {"loss/a": 1.0, "loss/b": 1.0}, 0)
    ticks.tick(1000, 10.0, 1.0, {"loss/a": 1.0}, 0)
    assert heads() == 1
    ticks.evaluated(1000, Scores(student={"m/fd": 1.0}))
    ticks.tick(1000, 10.0, 1.0, {"loss/a": 1.0}, 0)
    assert heads() == 1


def test_updates_that_were_skipped_have_a_column_from_the_first_on(capsys):
    ticks = Ticks(QuietScreen(), 1000)
    ticks.tick(500, 10.0, 1.0, {"loss/a": 1.0}, 0)
    ticks.tick(1000, 10.0, 1.0, {"loss/a": float("nan")}, 3)
    *_, head, line = capsys.readouterr().out.splitlines()
    assert head.split()[4:] == ["skipped", "a"] and line.split()[4:] == ["3", "nan"]


def test_an_evaluation_stands_in_the_columns_of_ticks_beside_the_teacher(capsys):
    scores = Scores(
        student={"m/fd": 0.1234, "m/fd_sd": 0.0056, "m/fd_floor": 0.05, "m/recall": 0.9},
        better={"m/fd": "lower", "m/recall": "higher"},
    )  # fmt: skip
    Ticks(QuietScreen(), 512_000, Scores(student={"m/fd": 0.2})).evaluated(64_000, scores)
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["kimg", "metric", "teacher", "student", "real", "v", "real"]
    assert lines[0].split() == ["64.0", "m/fd", "\u2193", "0.2", "0.1234", "\u00b1", "0.0056", "0.05"]
    assert lines[1].split() == ["64.0", "m/recall", "\u2191", "-", "0.9", "-"]


@pytest.mark.parametrize("width", [60, 80])
def test_numbers_keep_their_columns_and_long_names_give_way(width):
    rows = [Row("component/a_metric_with_a_name_that_is_long", 12.34, 0.56, 23.45, 0.67, 1.23, 0.12)]
    head, line = score_lines(rows, {}, Heads("teacher, NFE 35", "student, NFE 1"), width)
    assert len(head) == len(line) <= width
    assert "12.34 \u00b1 0.56" in line and "23.45 \u00b1 0.67" in line and "1.23 \u00b1 0.12" in line
