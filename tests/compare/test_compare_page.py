"""The page and the command: self-contained, escaped, well-formed charts, readable in 80 columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.compare import Run, compare, write_page


@pytest.fixture
def page(folder, tables, tmp_path):
    other = tables(generator_loss={"use": "sid", "alpha": 1.2})
    paths = [folder("s<d", [4, 2, 1], seed=i) for i in range(2)] + [folder("s<d", [3, 2, 2], seed=0, recipe=other)]
    found = compare([Run.read(path) for path in paths])
    return write_page(found, tmp_path / "compare.html", title="a & b").read_text()


def test_the_page_loads_nothing_and_runs_nothing(page):
    assert re.findall(r"(?:src|href)=\"(?!data:)", page) == []
    assert page.count("<script") == 1 and "default-src 'none'" in page


def test_names_are_escaped(page):
    assert "s<d" not in page and "s&lt;d alpha=1.2" in page and "a &amp; b" in page


def test_the_page_has_curves_tables_panels_and_differences(page):
    assert page.count("<svg") == 2  # against images and against seconds
    assert page.count("data:image/png;base64,") == 2
    assert "Samples from the same noise" in page and "s&lt;d, seed 0" in page
    assert re.search(r'<th scope="row">generator_loss.alpha</th><td[^>]*>1</td><td[^>]*>1.2</td>', page)
    assert "mean of the last 3 evaluations" in page and "worse by 5 %" in page


def test_the_command_shows_tables_in_80_columns_and_writes_the_page(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    paths = [str(folder("digits_sid2a_embedding_loss", [4, 2, 1], seed=i)) for i in range(3)]
    out = tmp_path / "page.html"
    assert main(["compare", *paths, str(folder("b", [4, 3, 3])), "--baseline", "b", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "until m/fd" in shown and "never" not in shown and out.exists()


def test_a_page_that_is_there_stays_unless_it_is_named(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["compare", str(folder("a", [4, 2, 1])), str(folder("b", [4, 3, 3]))]
    Path("compare.html").write_text("of yesterday")
    assert main(command) == 0 and capsys.readouterr().out.splitlines()[-1].split() == ["page", "compare-2.html"]
    assert main(command) == 0 and Path("compare-3.html").exists()
    assert Path("compare.html").read_text() == "of yesterday"
    assert main([*command, "--out", "compare.html"]) == 0 and "<html" in Path("compare.html").read_text()


def test_what_is_no_run_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert main(["compare", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
