"""A study in rows: each row against its own first cell, others against one baseline; tables, page, Markdown."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from distillkit.api import UsageError
from distillkit.cli.compare import show
from distillkit.compare import Run, compare_rows, markdown, matrix, write_page

ROWS = {
    "SiD": {"itself": "SiD, itself", "EL": "SiD, EL", "FD": "SiD, FD"},
    "DI": {"itself": "DI, itself", "EL": "DI, EL", "FD": "DI, FD"},
}


@pytest.fixture
def runs(folder, tables):
    """Two seeds of SiD and DI with and without EL, one cell beside them; SiD with FD diverged, DI with FD never ran."""
    curves = {
        "SiD, itself": ([8, 4, 4, 4], [8, 6, 6, 6]), "SiD, EL": ([5, 3, 3, 3], [5, 3.5, 3.5, 3.5]),
        "DI, itself": ([9, 2, 2, 2], [9, 2.2, 2.2, 2.2]), "DI, EL": ([9, 9, 9, 8.4], [9, 9, 9, 8.6]),
        "SiD, lr x 2": ([9, 6, 3, 3],), "SiD, FD": ([9, "nan"],),
    }  # fmt: skip
    made = {}
    for i, (label, seeds) in enumerate(curves.items()):
        recipe = tables(generator_loss={"use": "sid", "alpha": 1.0 + i})
        code = 4 if label == "SiD, FD" else 0
        made |= {folder("d", fds, seed=seed, recipe=recipe, code=code): label for seed, fds in enumerate(seeds)}
    return made


@pytest.fixture
def found(runs):
    return compare_rows(
        [Run.read(path) for path in runs], runs, ROWS, baseline="SiD, itself", metrics=["fd"], within=0.05
    )


def texts(table):
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_each_row_has_a_target_of_its_own(found):
    assert {name: row.targets[0].final for name, row in found.rows.items()} == {"SiD": 5.0, "DI": pytest.approx(2.1)}
    assert [group.label for group in found.rows["DI"].groups] == ["itself", "EL", "FD"]
    assert [group.label for group in found.rest.groups] == ["SiD, itself", "SiD, lr x 2"]
    assert found.rest.targets[0].final == 5.0


def test_final_values_are_rows_against_columns_with_what_became_of_the_others(found):
    (table,) = matrix.finals(found, ["m/fd"])
    assert table.title == "final m/fd \N{DOWNWARDS ARROW}" and table.head == ["", "itself", "EL", "FD"]
    assert texts(table) == {
        "SiD": ["5 \N{PLUS-MINUS SIGN} 1.4", "3.25 \N{PLUS-MINUS SIGN} 0.35", "1 diverged"],
        "DI": ["2.1 \N{PLUS-MINUS SIGN} 0.14", "8.5 \N{PLUS-MINUS SIGN} 0.14", "-"],
    }
    assert table.note.endswith("italic worse, by Welch's t-test over seeds, p < 0.05.")


def test_a_cell_stands_out_where_it_differs_from_the_first(found):
    (table,) = matrix.finals(found, ["m/fd"])
    sid, di = table.rows
    assert [(cell.best, cell.worse) for cell in sid[1:3]] == [(False, False), (False, False)]  # 1.75, and two seeds
    assert [(cell.best, cell.worse) for cell in di[1:3]] == [(False, False), (False, True)]


def test_images_and_seconds_to_the_rows_own_target(found):
    kimg, seconds = matrix.ways(found)
    assert texts(kimg) == {
        "SiD": ["\N{LESS-THAN OR EQUAL TO} 5.25", "1.92 (100 %)", "\N{LESS-THAN OR EQUAL TO} 1 (52 %)", "-"],
        "DI": ["\N{LESS-THAN OR EQUAL TO} 2.205", "1.98 (100 %)", "never", "-"],
    }
    assert texts(seconds)["SiD"][1] == "19.2 (100 %)"
    assert "last 3 evaluations of 'itself' in that row, made worse by 5 %" in kimg.note and not seconds.note


def test_a_row_whose_first_cell_never_ran_has_final_values_and_no_target(runs):
    ran = {path: label for path, label in runs.items() if label != "DI, itself"}
    found = compare_rows([Run.read(path) for path in ran], ran, ROWS, baseline="SiD, itself", metrics=(), within=0.0)
    kimg, _ = matrix.ways(found)
    assert texts(kimg)["DI"] == ["-", "-", "-", "-"]
    (table,) = matrix.finals(found, ["m/fd"])
    assert texts(table)["DI"] == ["-", "8.5 \N{PLUS-MINUS SIGN} 0.14", "-"] and not table.rows[1][2].best


def test_a_cell_with_fewer_seeds_says_so(found, runs):
    ran = dict(list(runs.items())[:3])
    fewer = compare_rows([Run.read(path) for path in ran], ran, ROWS, baseline="SiD, itself", metrics=(), within=0.0)
    (table,) = matrix.finals(fewer, ["m/fd"])
    assert texts(table)["SiD"][1] == "3 (n=1)"


def test_without_a_finished_run_there_is_nothing_to_compare(runs):
    ran = {path: label for path, label in runs.items() if label == "SiD, FD"}
    with pytest.raises(UsageError, match="none of 1 runs is finished"):
        compare_rows([Run.read(path) for path in ran], ran, ROWS, baseline="SiD, itself", metrics=(), within=0.0)


def test_rows_may_be_measured_differently_but_not_cells_of_a_row(folder, tables):
    other = tables(dataset={"use": "points", "size": 7})
    a, b, c = folder("a", [3, 2]), folder("b", [3, 2], recipe=other), folder("c", [3, 1])
    runs = [Run.read(path) for path in (a, b, c)]
    more = {"baseline": "a", "metrics": (), "within": 0.0}
    found = compare_rows(runs, {a: "a", b: "b", c: "c"}, {"x": {"1": "a", "2": "c"}, "y": {"1": "b"}}, **more)
    assert list(found.rows) == ["x", "y"]
    with pytest.raises(UsageError, match=r"dataset.size is 100 in 1, 7 in 2"):
        compare_rows(runs, {a: "a", b: "b", c: "c"}, {"x": {"1": "a", "2": "b"}}, **more)


def test_markdown_has_the_matrices_then_the_others_then_the_list(found):
    text = markdown(found)
    places = [text.index(part) for part in (
        "Final m/fd", "Kimg until m/fd", "Seconds until m/fd", "Until m/fd \N{LESS-THAN OR EQUAL TO} 5.25",
        "Final values",
    )]  # fmt: skip
    assert places == sorted(places)
    assert "| DI | 2.1 \N{PLUS-MINUS SIGN} 0.14 | *8.5 \N{PLUS-MINUS SIGN} 0.14* | - |" in text
    assert "| SiD, EL | 3.25 \N{PLUS-MINUS SIGN} 0.35 | 2 | 100 |" in text and "**3" not in text


def test_the_page_has_one_chart_per_row_and_is_self_contained(found, tmp_path):
    page = write_page(found, tmp_path / "compare.html").read_text()
    assert page.count("<script") == 1 and re.findall(r"(?:src|href)=\"(?!data:)", page) == []
    small, wide = page.split('<div class="charts small">')[1], page.split('<div class="charts wide">')[1]
    assert small.split("</section>")[0].count("<svg") == 2 and wide.split("</section>")[0].count("<svg") == 2
    assert page.count("data:image/png;base64,") == 6  # a sheet for each finished cell; the baseline's twice
    assert 'class="worse"' in page and "each row against &#x27;itself&#x27;" in page


def test_the_terminal_shows_the_metrics_with_curves_in_80_columns(found, tmp_path, capsys):
    show(found, Console(width=80), tmp_path / "p.html")
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("1 diverged") == 2 and "kimg until m/fd is as good as 'itself'" in shown
