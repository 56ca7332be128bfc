"""`distillkit study --claim`: looks, budget, the record that another machine goes on from, and what is printed."""

from __future__ import annotations

import json
import shutil

import pytest
from attrs import evolve

from distillkit.cli.main import main
from distillkit.study import claimed
from distillkit.study.judge import judge
from distillkit.testing import tiny_recipe

BASE = tiny_recipe(
    "edm", generator={"network": {"depth": 1}},
    evaluate=[{"use": "mixture", "every_kimg": 0.016, "images": 64}],
)  # fmt: skip
CLAIM = """
schema = 1
name = "tiny"
seeds = [0, 1, 2, 3]
looks = [2, 4]

[[cell]]
label = "as it is"
recipe = "base.toml"
[[cell]]
label = "still"
recipe = "base.toml"
set = ["generator.optimizer.lr=1e-30"]

[[claim]]
says = "A student that learns is better"
arm = "as it is"
against = "still"
metric = "mixture/sw2"
least = {least}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "child.toml").write_text('schema = 1\nextends = "base.toml"\n[generator]\nfrom = "base.toml"\n')
    started: list[str] = []

    def in_this_process(jobs, runs, logs, at_once, show, queue):
        all_ = claimed.look(jobs, runs, logs)
        for one in all_:
            if one.state == "waiting":
                started.append(one.job.name)
                assert main(one.job.arguments(runs)) == 0
                one.state = "finished"
                show(all_)
        return all_

    monkeypatch.setattr(claimed, "work", in_this_process)

    def claim(text=CLAIM, least="-100.0", *more):
        (tmp_path / "claim.toml").write_text(text.replace("{least}", least))
        return main(["study", "--claim", "claim.toml", *more])

    claim.started, claim.path = started, tmp_path
    return claim


def words(capsys):
    return " ".join(capsys.readouterr().out.split())


def record(here):
    return json.loads((here.path / "claim.json").read_text())


def test_a_claim_that_is_decided_at_the_first_look_ends_there(here, capsys):
    assert here() == 0
    shown = words(capsys)
    assert here.started == [f"{cell}, seed {seed}" for seed in (0, 1) for cell in ("as it is", "still")]
    assert "holds A student that learns is better" in shown and "all is decided after 2 of 4 seeds" in shown
    assert "2 looks (Bonferroni)" in shown
    page = (here.path / "claim.md").read_text()
    assert "| A student that learns is better | as it is against still | mixture/sw2: better by" in page
    assert "| still | 2 |" in page and "mixture/on_mode" in page  # losers and other metrics are in the tables


def test_one_that_stays_open_takes_all_looks(here, capsys, monkeypatch):
    asked = []

    def undecided(study, rows, seeds):
        asked.append((len(rows), seeds))
        return [evolve(one, verdict="open") for one in judge(study, rows, seeds)]

    monkeypatch.setattr(claimed, "judge", undecided)
    assert here() == 0
    assert asked == [(4, (0, 1)), (8, (0, 1, 2, 3))]
    assert "8 runs, seeds 0, 1, 2, 3; " in words(capsys)


def test_the_record_alone_is_enough_to_judge_again_and_to_go_on(here, capsys):
    assert here() == 0
    before = (here.path / "claim.md").read_text()
    shutil.rmtree(here.path / "runs")
    here.started.clear()
    assert here() == 0 and not here.started
    assert (here.path / "claim.md").read_text() == before
    rows = record(here)
    rows["rows"].pop()
    (here.path / "claim.json").write_text(json.dumps(rows))
    capsys.readouterr()
    assert here(CLAIM, "-100.0", "--no-run") == 0 and not here.started
    assert "waiting A student" in words(capsys)
    assert here() == 0 and here.started == ["still, seed 1"]


def test_a_cell_that_others_build_on_is_made_again_where_its_run_is_gone(here):
    text = CLAIM.replace('recipe = "base.toml"\nset = ["generator.optimizer.lr=1e-30"]', 'recipe = "child.toml"')
    text = text.replace("looks = [2, 4]", "").replace("[0, 1, 2, 3]", "[0, 1]")
    assert here(text) == 0
    rows = record(here)
    gone = [row for row in rows["rows"] if not (row["cell"] == "still" and row["seed"] == 1)]
    (here.path / "claim.json").write_text(json.dumps({**rows, "rows": gone}))
    shutil.rmtree(here.path / "runs")
    here.started.clear()
    assert here(text) == 0
    assert here.started == ["as it is, seed 0", "still, seed 1"]  # the child's ancestor keeps its own seed


def test_the_budget_ends_it_before_a_seed(here, capsys):
    assert here("core_hours = 1e-12\n" + CLAIM) == 0
    shown = words(capsys)
    assert {row["seed"] for row in record(here)["rows"]} == {0}
    assert "waiting A student" in shown and "the 1e-12 core-hours of its budget are used" in shown


def test_a_claim_stands_before_its_results(here, capsys):
    assert here() == 0
    (here.path / "claim.md").unlink()
    assert here(CLAIM + "# a remark changes nothing\n") == 0
    assert here(CLAIM, "0.5") == 2
    assert "a claim stands before its results; give the new one a file of its own" in capsys.readouterr().err
    (here.path / "claim.json").write_text('{"rows": [{}]}')
    assert here() == 3
    assert "claim.json is not what `study --claim` writes: KeyError" in capsys.readouterr().err


def test_studies_and_claims_are_told_apart(here, capsys):
    assert here(CLAIM.partition("[[claim]]")[0].replace("looks = [2, 4]", "")) == 2
    assert "claim.toml has no [[claim]]: distillkit study claim.toml runs it" in capsys.readouterr().err
    (here.path / "claim.toml").write_text(CLAIM.replace("{least}", "0.0"))
    assert main(["study", "claim.toml"]) == 2
    assert "distillkit study --claim claim.toml tests them" in capsys.readouterr().err
    assert main(["study", "claim.toml", "--claim", "--reuse-collapsed"]) == 2


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"mixture/sw2"', '"sw2"', "as it is does not measure 'sw2'; it has mixture/..."),
        ('"mixture/sw2"', '"mixture/ws2"', "or it has no better side; those that have: mixture/"),
        ("seeds =", "set = ['evaluate=[]']\nseeds =", "does not measure 'mixture/sw2'; it has no [[evaluate]]"),
        (
            "least = {least}", "measure = 'images'\n[[cell]]\nrecipe = 'end.toml'",
            "end does not measure 'mixture/sw2' on the way, as 'images' takes; evaluate.every_kimg does",
        ),
    ],
)  # fmt: skip
def test_what_no_recipe_measures_is_told_before_anything_runs(here, capsys, old, new, told):
    (here.path / "end.toml").write_text(BASE.replace("every_kimg = 0.016", ""))
    text = CLAIM.replace(old, new)
    assert here(text.replace('"still"\nmetric', '"end"\nmetric') if "end.toml" in text else text) == 2
    assert told in capsys.readouterr().err and not here.started and not (here.path / "claim.json").exists()


def test_rows_of_a_recipe_that_was_changed_are_named_and_not_judged(here, capsys):
    assert here() == 0
    (here.path / "base.toml").write_text(BASE.replace("depth = 1", "depth = 2"))
    capsys.readouterr()
    assert here(CLAIM, "-100.0", "--no-run") == 0
    shown = words(capsys)
    assert "no run yet" in shown and "4 more in claim.json are of recipes as they were before, and not judged" in shown


def test_a_record_that_was_edited_by_hand_is_no_bug(here, capsys):
    assert here() == 0
    rows = record(here)
    rows["rows"][0]["cell"] = "another"  # the fingerprint says whose it is
    (here.path / "claim.json").write_text(json.dumps(rows))
    assert here(CLAIM, "-100.0", "--no-run") == 0 and "holds A student" in words(capsys)
    for wrong, told in (
        ({"schema": 2}, "reads schema = 1"),
        ({"rows": [{**rows["rows"][0], "state": "?"}]}, "'state'"),
    ):
        (here.path / "claim.json").write_text(json.dumps({**rows, **wrong}))
        assert here() == 3 and told in capsys.readouterr().err


def test_without_a_run_there_is_no_file_of_rows(here, capsys):
    assert here(CLAIM, "-100.0", "--no-run") == 0
    shown = words(capsys)
    assert "no run yet; 0 core-hours" in shown and "rows" not in shown and not (here.path / "claim.json").exists()


def test_a_record_that_cannot_be_written_is_told_before_anything_runs(here, capsys):
    (here.path / ".tmp-claim.json").mkdir()
    assert here() == 2 and not here.started
