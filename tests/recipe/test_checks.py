"""What must hold between the tables of a recipe."""

from __future__ import annotations

import pytest

from distillkit.recipe import to_toml

TEACHER = '[teacher_score]\nuse = "edm"\ncheckpoint = "teacher"\n'
NETWORK = '[generator.network]\nuse = "mlp"\n'


@pytest.fixture
def plain(good: str) -> str:
    """The good recipe without its teacher."""
    return good.replace(TEACHER, "")


def test_micro_batches_divide_the_batch(complaints, recipe, good):
    assert complaints(good, ["run.micro_batch=48"]) == [
        "--set run.micro_batch must divide run.batch = 64, got 48 | for example 32"
    ]
    assert recipe(good, ["run.micro_batch=16"]).run.micro_batch == 16


def test_an_average_moves_within_the_run(complaints, recipe, good):
    few = ["run.kimg=1", "generator.ema_every=17"]  # 16 iterations of 64 images
    assert complaints(good, few) == [
        "--set generator.ema_every the average would never move: the run has 16 iterations, got 17 | at most 16"
    ]
    assert recipe(good, ["run.kimg=1", "generator.ema_every=16"]).generator.ema_every == 16


def test_a_start_from_scratch_needs_a_network(complaints, recipe, plain):
    assert complaints(plain + '[generator]\ninit = "scratch"') == [
        'x.toml:10 generator.network missing, and init = "scratch" needs an architecture | a table [generator.network]'
    ]
    assert recipe(plain + '[generator]\ninit = "scratch"\n' + NETWORK).generator.network.name == "mlp"


def test_a_start_from_the_teacher_may_be_of_another_form(complaints, recipe, good):
    assert recipe(good + NETWORK).generator.network.name == "mlp"
    (found,) = complaints(good + "[generator.network_keys]\nwidth = 4\n" + NETWORK)
    assert "generator.network_keys given together with network | write the keys into [generator.network]" in found


def test_a_key_of_the_network_that_the_method_sets_is_not_contradicted(complaints, recipe, good, catalog, monkeypatch):
    method = catalog.load("generator_loss", "sid")
    monkeypatch.setattr(method, "network_keys", property(lambda self: {"width": 16}))
    told = '4 contradicts generator_loss "sid", which sets 16 | leave it out'
    assert complaints(good + "[generator.network_keys]\nwidth = 4") == [
        f"x.toml:14 generator.network_keys.width {told}"
    ]
    scratch = good + '[generator]\ninit = "scratch"\n' + NETWORK
    sets = ["generator.network.width=4"]
    assert complaints(scratch, sets) == [f"--set generator.network.width {told}"]
    for right in (scratch, scratch + "width = 16", good + "[generator.network_keys]\nwidth = 16"):
        assert recipe(right).generator_loss.name == "sid"
    # What a run wrote of itself has every default of its network in it.
    resolved = to_toml(recipe(scratch), {"distillkit": "0.1.0"})
    assert "width = 8" in resolved and recipe(resolved)
    assert complaints(resolved, sets) == complaints(scratch, sets)


def test_a_copy_of_the_teacher_needs_a_teacher(complaints, recipe, plain):
    (found,) = complaints(plain)
    assert 'generator.init "teacher" needs a [teacher_score]' in found
    assert recipe(plain + '[generator]\nfrom = "y.toml"').starts_from == {"generator": "y.toml"}
    assert recipe(plain + '[generator]\ncheckpoint = "runs/1/result"').teacher_score is None


def test_from_and_checkpoint_exclude_each_other(complaints, good):
    found = complaints(good + "[generator]\nfrom = 'a.toml'\ncheckpoint = 'c'", ["teacher_score.from=b.toml"])
    assert found == [
        "x.toml:14 generator.from given together with checkpoint | keep the one to start from",
        "--set teacher_score.from given together with checkpoint | keep the one to start from",
    ]


@pytest.mark.parametrize("name", ["/abs/y.toml", "y.json", ""])
def test_from_names_a_recipe(complaints, good, name):
    (found,) = complaints(good + f"[generator]\nfrom = '{name}'")
    assert "generator.from must be the relative path of a .toml file, or a shipped recipe's name, got" in found


@pytest.mark.parametrize("metrics", ["evaluate=0.5", "evaluate=true", "evaluate={}", 'evaluate="fid"', "evaluate=[1]"])
def test_the_metric_to_keep_the_best_by_is_not_looked_for_in_what_is_no_list_of_tables(complaints, good, metrics):
    told = complaints(good, ['run.keep_best="fid/fid"', metrics])
    assert told and "run.keep_best" not in "".join(told) and all("evaluate" in line for line in told)
