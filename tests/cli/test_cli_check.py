"""`distillkit check` of several recipes and of studies: what is valid, and all that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.plan import fit
from distillkit.testing import tiny_recipe

STUDY = 'schema = 1\nname = "s"\nseeds = [0, 1]\n[[cell]]\nrecipe = "a.toml"\n'


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(tiny_recipe("edm"))
    (tmp_path / "b.toml").write_text('schema = 1\nextends = "a.toml"\n[run]\nbatch = 4\n')
    (tmp_path / "wrong.toml").write_text('schema = 1\nextends = "a.toml"\n[run]\nbath = 4\nkimgs = 3\n')
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "grid.toml").write_text(STUDY + "[grid]\n")


def test_several_valid_recipes_and_a_study_are_a_line_each(capsys):
    assert main(["check", "a.toml", "b.toml", "study.toml"]) == 0
    assert capsys.readouterr().out.splitlines() == ["valid  a.toml", "valid  b.toml", "valid  study.toml  2 runs"]


def test_the_problems_of_all_are_listed_and_the_valid_ones_still_named(capsys):
    assert main(["check", "wrong.toml", "a.toml", "grid.toml", "none.toml"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "valid  a.toml\n"
    for told in (
        "wrong.toml:4  run.bath",
        "wrong.toml:5  run.kimgs",
        "grid.toml:6  grid  unknown table",
        "no such file",
    ):
        assert told in shown.err
    assert "keys here: schema, name, seeds, set, teacher_seeds, vary, cell" in shown.err


def test_settings_go_to_each_recipe_and_study(capsys):
    assert main(["check", "a.toml", "study.toml", "--set", "run.kimgs=1"]) == 2
    assert capsys.readouterr().err.count("did you mean kimg?") == 2


def test_one_study_is_checked_and_has_no_toml_to_print(capsys):
    assert main(["check", "study.toml"]) == 0
    assert main(["check", "study.toml", "--toml"]) == 2
    assert "--toml prints one recipe" in capsys.readouterr().err


def test_the_verdict_comes_first_then_the_plan_and_the_recipe_where_it_is_asked_for(capsys):
    assert main(["check", "a.toml"]) == 0
    verdict, empty, head, row, *rest = capsys.readouterr().out.splitlines()
    assert verdict == "ok: 1 recipe to run, fits" and not empty
    assert head.split() == ["recipe", "method", "to", "do", "takes"] and row.split()[:2] == ["a", "edm"]
    assert "[run]" not in rest and any(line.startswith("fits: ") for line in rest)
    assert main(["check", "a.toml", "--full"]) == 0
    full = capsys.readouterr().out.splitlines()
    assert full[0] == verdict and full.index("[run]") > full.index(row)


def test_the_verdict_knows_what_is_finished_how_long_the_rest_takes_and_what_is_too_large(capsys, monkeypatch):
    (Path("parent.toml")).write_text(tiny_recipe("edm", about={"runs_on": "CPU, 3 min"}))
    child = {"use": "network", "from": "parent.toml"}
    Path("child.toml").write_text(tiny_recipe("sid", teacher_score=child, about={"runs_on": "CPU, 30 s"}))
    assert main(["check", "child.toml"]) == 0
    assert capsys.readouterr().out.startswith("ok: 2 recipes to run, about 3 min 30 s on a CPU, fits\n")
    assert main(["check", "child.toml", "--set", "run.kimg=0.32"]) == 0
    assert capsys.readouterr().out.startswith("ok: 2 recipes to run, fits\n")
    assert main(["run", "parent.toml"]) == 0
    capsys.readouterr()
    assert main(["check", "child.toml"]) == 0
    assert capsys.readouterr().out.startswith("ok: 1 recipe to run, 1 reused, about 30 s on a CPU, fits\n")
    assert main(["check", "parent.toml"]) == 0
    assert capsys.readouterr().out.startswith("ok: nothing to run, 1 reused\n")
    monkeypatch.setattr(fit, "device", lambda *_: fit.Device(memory=1000.0, source="small"))
    assert main(["check", "b.toml"]) == 0
    assert capsys.readouterr().out.startswith("valid, but does not fit here: 1 recipe to run\n")
