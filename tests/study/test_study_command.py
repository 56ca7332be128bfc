"""`distillkit study` for real: two cells and their common ancestor, tables, page, JSON, Markdown; and again."""

from __future__ import annotations

import json

from distillkit.cli.main import main

BASE = """
schema = 1
[run]
kimg = 0.064
batch = 16
device = "cpu"
[dataset]
use = "gaussian-mixture"
size = 64
[generator]
init = "scratch"
network = { use = "mlp", width = 8, depth = 1 }
[sample]
use = "one-step"
[generator_loss]
use = "edm"
[[evaluate]]
use = "mixture"
every_kimg = 0.016
images = 64
"""
STUDY = """
schema = 1
name = "tiny"
seeds = [3]
[[cell]]
recipe = "base.toml"
set = ["run.batch=8"]
[[cell]]
label = "child"
recipe = "child.toml"
[[cell]]
label = "broken"
recipe = "base.toml"
set = ["dataset.std=1e-300", "teacher_score.use=edm", "teacher_score.checkpoint=missing"]
"""


def test_a_study_compares_what_ran_and_tells_what_did_not(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "child.toml").write_text('schema = 1\nextends = "base.toml"\n[generator]\nfrom = "base.toml"\n')
    (tmp_path / "tiny.toml").write_text(STUDY)
    assert main(["study", "tiny.toml", "--jobs", "2", "--markdown", "tiny.md"]) == 1
    shown = capsys.readouterr()
    assert "error: broken, seed 3 failed: exit code 3: " in shown.err
    assert "is missing; a network is" in shown.err and shown.err.count("error:") == 1
    assert "on_mode" in shown.out and "until mixture/on_mode" in shown.out
    facts = json.loads((tmp_path / "runs/study-tiny/study.json").read_text())
    assert [cell["label"] for cell in facts["cells"]] == ["base", "child", "broken"]
    assert [cell["runs"][0]["state"] for cell in facts["cells"]] == ["finished", "finished", "failed"]
    assert facts["cells"][0]["runs"][0]["metrics"].keys() >= {"mixture/on_mode", "mixture/sw2"}
    assert facts["comparison"]["baseline"] == "base"
    assert "| child |" in (tmp_path / "tiny.md").read_text()
    assert "base" in (tmp_path / "runs/study-tiny/compare.html").read_text()
    assert len(list((tmp_path / "runs").glob("0*"))) == 3  # the child's ancestor is one; the refused run leaves nothing
