"""`distillkit tune`: axes, points, rungs, the best settings' lines, and fresh seeds that decide."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from distillkit.api import UsageError
from distillkit.cli.main import main
from distillkit.cli.tune import from_there
from distillkit.recipe import read, shipped
from distillkit.recipe.write import tables
from distillkit.registry import Catalog
from distillkit.study import claimed, space, whole
from distillkit.study.tune import Tuning

BASE = """
schema = 1
extends = "gaussians_sid"
[run]
tick_kimg = 100
[generator.optimizer]
lr = 1e-30
[evaluate.0]
images = 256
"""


def test_axes_as_a_user_writes_them():
    assert space.axis("generator.optimizer.lr = 1e-4..1e-2") == space.Axis("generator.optimizer.lr", 1e-4, 1e-2)
    assert space.axis("run.batch=32|64") == space.Axis("run.batch", choices=("32", "64"))
    for wrong in ("run.batch", "run.batch=32", "a=2..1", "a=x..y", "a=0..inf", "=1..2", "a=|"):
        with pytest.raises(UsageError, match=r"KEY=LOW..HIGH or KEY=A\|B\|C"):
            space.axis(wrong)


def test_a_range_above_0_is_even_in_its_logarithm():
    rate, mean = space.Axis("lr", 1e-4, 1e-2), space.Axis("P_mean", -2.0, 1.0)
    assert [rate.at(share) for share in (0.0, 0.5)] == ["0.0001", "0.001"]
    assert [mean.at(share) for share in (0.0, 0.5)] == ["-2.0", "-0.5"]
    assert [space.Axis("b", choices=("1", "2")).at(share) for share in (0.0, 0.49, 0.5, 0.99)] == ["1", "1", "2", "2"]


def test_points_are_even_on_every_axis_and_the_same_again():
    axes = [space.Axis("a", choices=tuple("0123")), space.Axis("b", choices=tuple("0123"))]
    made = space.points(axes, 16)
    assert sorted(made) == [(f"a={i}", f"b={j}") for i in "0123" for j in "0123"]  # Sobol's: one in each square
    assert made == space.points(axes, 16) != space.points(axes, 16, seed=1)


def test_the_usual_axes_are_of_what_the_recipe_has():
    shipped = read("recipes/digits_sid_el.toml", (), Catalog.installed())
    found = {one.key: one for one in space.usual(tables(shipped))}
    lr = shipped.generator.optimizer.lr
    assert {"generator.optimizer.lr", "generator_loss.lr", "auxiliary_loss.0.ratio", "run.batch"} <= found.keys()
    assert found["run.batch"].choices == ("32", "64", "128")
    assert (found["generator.optimizer.lr"].low, found["generator.optimizer.lr"].high) == (lr / 4, lr * 4)
    ratio = found["auxiliary_loss.0.ratio"]
    assert ratio.high / ratio.low == pytest.approx(16) and not any(key.endswith("loss.ratio") for key in found)


def test_rungs_grow_by_eta():
    asked = Tuning("r", "r", (), 16.0, 0, 1, (1,))
    assert asked.rungs(18, 2) == [(18, pytest.approx(16 / 3)), (6, 16.0)]
    assert asked.rungs(4, 3) == [(4, pytest.approx(16 / 9)), (1, pytest.approx(16 / 3)), (1, 16.0)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "base.toml").write_text(BASE)

    def in_this_process(jobs, runs, logs, at_once, show, queue):
        all_ = claimed.look(jobs, runs, logs)
        for one in all_:
            if one.state == "waiting":
                one.state = "finished" if main(one.job.arguments(runs)) == 0 else "failed"
        return all_

    monkeypatch.setattr(claimed, "work", in_this_process)
    monkeypatch.setattr(whole, "work", in_this_process)
    return tmp_path


RATES = ("--vary", "generator.optimizer.lr=2e-3..4e-3", "--metric", "mixture/sw2", "--kimg", "4")


def test_a_recipe_that_does_not_learn_is_tuned_until_it_does(here, capsys):
    """Its rate is 1e-30; any other one is better, and the fresh seeds say so."""
    assert main(["tune", "base.toml", "--trials", "3", "--fresh-seeds", "2", *RATES]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "trials: 3 with 1.33 kimg, 1 with 4 kimg; then 2 fresh seeds" in shown
    assert "the best settings, as lines of a recipe" in shown
    lines = tomllib.loads((here / "runs/tune-base/tuned.toml").read_text())
    assert 2e-3 <= lines["generator"]["optimizer"]["lr"] <= 4e-3 and lines["extends"] == "../../base.toml"
    assert read(here / "runs/tune-base/tuned.toml", (), Catalog.installed()).run.batch == 256
    (record,) = (here / "runs/tune-base").glob("fresh-seeds-*.json")
    rows = json.loads(record.read_text())["rows"]
    assert {(row["cell"], row["seed"]) for row in rows} == {(c, s) for c in ("as it is", "tuned") for s in (1, 2)}
    assert main(["check", "runs/tune-base/tuned.toml"]) == main(["check", "runs/tune-base/rung-1.toml"]) == 0
    made = len(list((here / "runs").glob("0*")))
    assert main(["tune", "base.toml", "--trials", "3", "--fresh-seeds", "2", *RATES]) == 0
    assert len(list((here / "runs").glob("0*"))) == made == 4 + 2 + 4  # nothing ran twice


def test_what_cannot_be_tuned_is_told(here, capsys):
    assert main(["tune", "base.toml", "--vary", "generator.optimizer.rate=1..2"]) == 2
    assert "generator.optimizer.rate" in capsys.readouterr().err and not (here / "runs").exists()
    still = ("--vary", "generator.optimizer.lr=1e-32..1e-31", "--metric", "mixture/sw2", "--kimg", "0.256")
    assert main(["tune", "base.toml", "--trials", "2", "--rungs", "1", *still]) == 0
    assert "none of 2 trials is better than base as it is: it stays" in capsys.readouterr().out


def test_what_tuning_sets_itself_is_not_varied_nor_a_key_twice():
    for key, told in (("run.kimg", "--kimg sets it"), ("run.seed", "--fresh-seeds"), ("a", "given twice")):
        with pytest.raises(UsageError, match=told):
            space.asked([f"{key}=1..2", "a=1..2", *(["a=1|2"] if key == "a" else [])])


def test_a_shipped_recipe_is_extended_by_its_name(here):
    asked = Tuning(shipped.asked("gaussians_sid"), "gaussians_sid", (), 16.0, 0, 1, (1,))
    assert asked.named(Path("runs")) == "gaussians_sid"


def test_paths_that_count_from_here_are_as_seen_from_the_folder_of_the_rungs(here):
    sets = ["generator.checkpoint=weights/a.safetensors", "run.batch=64"]
    recipe = read(here / "base.toml", sets, Catalog.installed())
    (here / "runs/tune-base").mkdir(parents=True)
    *given, path = from_there(recipe, sets, Path("runs/tune-base"))
    assert (given, path) == (sets, 'generator.checkpoint="../../weights/a.safetensors"')


def test_points_that_are_the_recipe_itself_are_left_out(here, capsys):
    few = ("--trials", "4", "--rungs", "1", "--kimg", "0.256")
    assert main(["tune", "base.toml", "--vary", "run.batch=256|256", *few]) == 2
    assert "every point is the recipe as it is" in capsys.readouterr().err and not (here / "runs").exists()
    assert main(["tune", "base.toml", "--set", "evaluate=[]", *few]) == 2
    assert "has no [[evaluate]]" in capsys.readouterr().err and not (here / "runs").exists()
    (here / "gr\u00f6 \u00dfe.toml").write_text(BASE)  # no name of a study
    vary = ("--vary", "run.batch=256|128", *few)
    assert main(["tune", "gr\u00f6 \u00dfe.toml", *vary, "--metric", "mixture/none"]) == 2
    out, err = capsys.readouterr()
    assert "trials: 1 with 0.256 kimg" in out and "no single metric is called 'mixture/none'; metrics: mixture/" in err
    assert main(["tune", "gr\u00f6 \u00dfe.toml", *vary, "--metric", "mixture/on_mode"]) == 2
    assert "mixture/on_mode is 0 with the recipe as it is: --metric takes one above 0" in capsys.readouterr().err


def test_a_rung_whose_trials_all_fail_says_why(here, capsys):
    wrong = ("--vary", "generator.optimizer.lr=1e30..1e35", "--metric", "mixture/sw2", "--kimg", "2")
    assert main(["tune", "base.toml", "--trials", "2", "--rungs", "1", *wrong]) == 1
    assert "rung 1 ends without any trial:\ntrial 0, seed 0 " in capsys.readouterr().err
