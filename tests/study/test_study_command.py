"""`distillkit study` for real: axes, a cell beside them and their common ancestor; tables, page, JSON, Markdown."""

from __future__ import annotations

import json

import pytest

from distillkit.cli.main import main
from distillkit.disk.rundir import RunDir
from distillkit.testing import tiny_recipe

BASE = tiny_recipe(
    "edm", generator={"network": {"depth": 1}},
    evaluate=[{"use": "mixture", "every_kimg": 0.016, "images": 64}],
)  # fmt: skip
HEAD = """
schema = 1
name = "tiny"
seeds = [3]
"""
CELLS = """
[[cell]]
recipe = "base.toml"
set = ["run.batch=8"]
[[cell]]
label = "child"
recipe = "child.toml"
[[cell]]
label = "broken"
recipe = "base.toml"
set = ["dataset.std=1e-300", "teacher_score.use=network", "teacher_score.checkpoint=missing"]
"""
AXES = """
[[vary.size]]
label = "eight"
recipe = "base.toml"
set = ["run.batch=8"]
[[vary.rate]]
label = "slow"
[[vary.rate]]
label = "fast"
set = ["generator.optimizer.lr=0.01"]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "child.toml").write_text('schema = 1\nextends = "base.toml"\n[generator]\nfrom = "base.toml"\n')
    return tmp_path


def test_a_study_compares_what_ran_and_tells_what_did_not(here, capsys):
    (here / "tiny.toml").write_text(HEAD + CELLS)
    assert main(["study", "tiny.toml", "--jobs", "2", "--markdown", "tiny.md"]) == 1
    shown = capsys.readouterr()
    assert "error: broken, seed 3 failed: exit code 3: " in shown.err
    assert "is missing; a network is" in shown.err and shown.err.count("error:") == 1
    assert "on_mode" in shown.out and "until mixture/on_mode" in shown.out
    facts = json.loads((here / "runs/study-tiny/study.json").read_text())
    assert [cell["label"] for cell in facts["cells"]] == ["base", "child", "broken"]
    assert [cell["runs"][0]["state"] for cell in facts["cells"]] == ["finished", "finished", "failed"]
    assert facts["cells"][0]["runs"][0]["metrics"].keys() >= {"mixture/on_mode", "mixture/sw2"}
    assert facts["comparison"]["baseline"] == "base"
    assert "| child |" in (here / "tiny.md").read_text()
    assert "base" in (here / "runs/study-tiny/compare.html").read_text()
    assert len(list((here / "runs").glob("0*"))) == 3  # the child's ancestor is one; the refused run leaves nothing


def test_a_run_that_collapsed_is_an_error_or_taken_as_it_is(here, capsys):
    (here / "tiny.toml").write_text(HEAD + '[[cell]]\nrecipe = "base.toml"\n[[cell]]\nrecipe = "child.toml"\n')
    assert main(["run", "base.toml", "--seed", "3"]) == main(["run", "base.toml"]) == 0
    for run in map(RunDir.open, (here / "runs").glob("0*")):
        run.write_exit(0, "collapsed", 64, None, ["one mode: for a while"])
    assert main(["study", "tiny.toml"]) == 1
    shown = capsys.readouterr().err
    assert "error: base, seed 3 collapsed: in an earlier session" in shown and "child, seed 3 left out" in shown
    assert main(["study", "tiny.toml", "--reuse-collapsed"]) == 0
    shown = capsys.readouterr().err
    assert "warning: base, seed 3 is taken as it is, it collapsed: one mode" in shown and "error" not in shown
    facts = json.loads((here / "runs/study-tiny/study.json").read_text())
    assert [group["seeds"] for group in facts["comparison"]["groups"]] == ["1 of 1, 1 collapsed", "1"]


def test_axes_become_a_matrix_and_no_run_starts_nothing(here, capsys):
    (here / "tiny.toml").write_text(HEAD + AXES)
    assert main(["study", "tiny.toml", "--runs", str(here / "elsewhere")]) == 0
    (here / "more.toml").write_text('schema = 1\nextends = "tiny.toml"\nname = "more"\nseeds = [3, 4]\n')
    capsys.readouterr()
    assert main(["study", "more.toml", "--runs", "elsewhere", "--no-run", "--markdown", "more.md"]) == 0
    shown = capsys.readouterr().out
    assert "running" not in shown and "kimg until mixture/on_mode is as good as 'slow'" in shown
    assert len(list((here / "elsewhere").glob("0*"))) == 2
    facts = json.loads((here / "elsewhere/study-more/study.json").read_text())
    runs = [run for cell in facts["cells"] for run in cell["runs"]]
    assert [run["state"] for run in runs] == ["reused", "waiting"] * 2
    assert [run.get("run") for run in runs[::2]] == ["0001-base", "0002-base"]  # no path of this machine
    assert str(here) not in json.dumps(facts)
    row = facts["comparison"]["rows"]["eight"]
    assert (row["baseline"], [group["label"] for group in row["groups"]]) == ("slow", ["slow", "fast"])
    assert facts["comparison"]["others"] is None
    assert "Seeds 3, 4. 2 of 4 runs finished.\n" in (here / "more.md").read_text()
    assert "generator.optimizer.lr=0.01" in (here / "elsewhere/study-more/compare.html").read_text()


def test_no_run_without_any_run_says_so(here, capsys):
    (here / "tiny.toml").write_text(HEAD + AXES)
    assert main(["study", "tiny.toml", "--no-run"]) == 1
    assert "error: nothing to compare: no run of this study exists yet" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_told_before_anything_runs(here, capsys):
    (here / "tiny.toml").write_text(HEAD + AXES)
    (here / "file").write_text("")
    assert main(["study", "tiny.toml", "--out", "file/x"]) == 2
    assert "error: cannot make file/x: Not a directory; --out names another folder" in capsys.readouterr().err
    assert not (here / "runs").exists()
