"""`distillkit run RECIPE --smoke`: any recipe's wiring, tiny, without the files that it names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distillkit.assets.locate import wanted
from distillkit.cli.main import main
from distillkit.recipe import read, tiny
from distillkit.registry import Catalog
from distillkit.run.smoke import small
from distillkit.train.build import build

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = ["afhq_sid", "cifar10_cond_dmd", "cifar10_cond_gdd_i", "imagenet64_sida", "digits_sid2a_el", "gaussians_sid"]


@pytest.fixture(scope="module")
def catalog():
    return Catalog.installed()


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_becomes_small_and_names_no_file_of_others(name, catalog, tmp_path):
    recipe = read(RECIPES / f"{name}.toml", catalog=catalog)
    made = small(recipe, tmp_path, catalog)
    assert wanted(made) == [] and (made.run.batch, made.run.kimg, made.run.tick_kimg) == (4, 0.008, 0.004)
    assert made.generator_loss.cls is recipe.generator_loss.cls and made.sample == tiny(recipe.sample)
    assert [term.cls for term in made.auxiliary_loss] == [term.cls for term in recipe.auxiliary_loss]
    assert made.starts_from == recipe.starts_from and made.name == recipe.name
    assert small(recipe, tmp_path, catalog) == made, "what it makes is made once"


def test_what_waits_in_the_recipe_does_not_wait(catalog, tmp_path):
    loss = small(read(RECIPES / "cifar10_cond_sida.toml", catalog=catalog), tmp_path, catalog).generator_loss.config
    assert (loss.generator_after_kimg, loss.gan_after_kimg, loss.alpha, loss.augment.config.p) == (0, 0, 1.0, 0.12)


def test_published_backbones_feature_networks_and_statistics_are_stood_in_for(catalog, tmp_path):
    made = small(read(RECIPES / "cifar10_cond_gdd.toml", catalog=catalog), tmp_path, catalog)
    assert [part.name for part in made.generator_loss.config.backbones] == ["random-pyramid", "random-pyramid"]
    (fid,) = made.evaluate
    assert fid.config.features.config.network == str(tmp_path / "features.pt") and fid.config.images == 24
    assert fid.config.reference == str(tmp_path / "reference.npz")
    assert made.run.keep_best is None, "in other features fid has another name"


def test_the_best_average_is_kept_where_nothing_stands_in_for_the_metric(catalog, tmp_path):
    assert small(read(RECIPES / "digits_gdd.toml", catalog=catalog), tmp_path, catalog).run.keep_best == "frechet/fd"


def test_the_teacher_is_a_tiny_one_of_the_same_family(catalog, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    for name, family in (("ffhq_sid", "edm-ddpmpp"), ("ffhq_gdd", "edm-ncsnpp"), ("imagenet64_sid", "edm-adm")):
        state = build(small(read(RECIPES / f"{name}.toml", catalog=catalog), tmp_path, catalog), catalog)
        teacher = state.teacher.network
        assert teacher.card["network"]["use"] == family and (teacher.resolution, teacher.channels) == (8, 3)
        assert sum(p.numel() for p in teacher.parameters()) < 1_000_000
        assert [path.name for path in tmp_path.glob(f"{family}*")] == [f"{family}-{teacher.label_dim}.pkl"]
        assert teacher.label_dim == state.dataset.label_dim == (4 if name.startswith("imagenet") else 0)


def test_the_family_of_a_file_of_your_own_is_read_from_it(catalog, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    pickle = RECIPES.parent / "plugins/distillkit-edm/tests/data/edm_ncsnpp_tiny.pkl"
    recipe = read(RECIPES / "ffhq_sid.toml", [f'teacher_score.checkpoint="{pickle}"'], catalog)
    assert small(recipe, tmp_path, catalog).teacher_score.config.checkpoint == str(tmp_path / "edm-ncsnpp-0.pkl")


def test_the_flagship_runs_through_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    assert main(["run", str(RECIPES / "afhq_sid2a_el.toml"), "--smoke"]) == 0
    told = capsys.readouterr().out
    assert "smoke run done: afhq_sid, afhq_sid2a_el; its numbers mean nothing" in told
    assert "advers." in told and "w/embed" in told, "every loss was computed"
    assert list(tmp_path.iterdir()) == [] and os.environ["DISTILLKIT_HOME"] == str(tmp_path / "home")


@pytest.mark.parametrize("more", [["--seeds", "0,1"], ["--set", "run.nonsense=1"]])
def test_what_it_cannot_do_is_told(more, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(RECIPES / "gaussians_sid.toml"), "--smoke", *more]) == 2
    assert capsys.readouterr().err
