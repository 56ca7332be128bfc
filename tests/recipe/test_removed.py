"""A key that shall have no value, and a table that is changed in part: in files, by --set, over defaults."""

from __future__ import annotations

import pytest

from distillkit.recipe import RecipeProblems, fingerprint, read, to_toml

MORE = """
schema = 1
extends = "base.toml"
[run]
micro_batch = 8
seed = 5
[generator]
init = "scratch"
network = { use = "mlp", width = 16 }
[generator.optimizer]
clip_norm = 3.0
[[auxiliary_loss]]
use = "embedding"
[[evaluate]]
use = "fid"
limits = { a = 1.0, b = 2.0 }
[[evaluate]]
use = "fid"
"""
REMOVED = (
    "run.micro_batch", "run.seed", "teacher_score", "generator.optimizer.clip_norm", "generator_loss.clip_norm",
    "sample.sigma_init", "auxiliary_loss", "evaluate.0.limits.a", "evaluate.1",
)  # fmt: skip


@pytest.fixture
def child(put, good, catalog):
    """Read a recipe that extends another, which extends the good one."""

    def read_child(text="", sets=()):
        put(good, "base.toml")
        put(MORE, "more.toml")
        return read(put("schema = 1\nextends = 'more.toml'\n" + text, "child.toml"), sets, catalog)

    return read_child


@pytest.fixture(params=["file", "--set"])
def changed(request, child):
    """The child with `KEY=VALUE` in its file, or by --set."""
    return lambda *keys: child("\n".join(keys)) if request.param == "file" else child("", keys)


def test_a_removed_key_is_off_if_it_may_be_and_has_its_default_if_not(changed):
    recipe = changed(*(f"{key}.remove=true" for key in REMOVED))
    assert (recipe.run.micro_batch, recipe.run.seed, recipe.teacher_score) == (None, 0, None)
    assert recipe.generator.optimizer.clip_norm is None
    assert recipe.generator_loss.config.clip_norm is None, "though its default is 10"
    assert recipe.sample.config.sigma_init == 2.5, "and not what the method would have"
    assert recipe.auxiliary_loss == ()
    assert [metric.config.limits for metric in recipe.evaluate] == [{"b": 2.0}]


def test_a_key_that_must_be_there_is_missed_when_it_is_removed(child):
    with pytest.raises(RecipeProblems) as caught:
        child("[run]\nkimg = { remove = true }\n[dataset]\nremove = true\n")
    assert [(p.place, p.key, p.message) for p in caught.value.problems] == [
        ("child.toml:4", "run.kimg", "missing"),
        ("child.toml:5", "dataset", "missing"),
    ]


def test_a_removed_key_may_be_given_again_further_up(child, put, catalog):
    child("[generator_loss]\nclip_norm.remove = true\n[teacher_score]\nremove = true\n")
    text = "schema = 1\nextends = 'child.toml'\n[generator_loss]\nclip_norm = 2.0\n[teacher_score]\nuse = 'edm'\n"
    recipe = read(put(text, "grandchild.toml"), (), catalog)
    assert (recipe.generator_loss.config.clip_norm, recipe.teacher_score.config.checkpoint) == (2.0, None)


@pytest.mark.parametrize("value", ["{remove=1}", "{remove=false}", "{remove=true, x=1}"])
def test_only_true_removes(child, value):
    with pytest.raises(RecipeProblems):
        child("", [f"generator_loss.clip_norm={value}"])


def test_a_name_that_is_removed_is_missing_and_no_entry_can_be_changed_that_is_not_there(child):
    with pytest.raises(RecipeProblems, match=r"generator_loss\.use  missing"):
        child("[generator_loss]\nuse.remove = true\n")
    with pytest.raises(RecipeProblems, match=r"\[evaluate.7\] changes an entry that is inherited, numbered from 0"):
        child("[evaluate.7]\nuse = 'fid'\n")


def test_a_list_of_so_many_lacks_the_entry_that_is_removed(child):
    with pytest.raises(RecipeProblems, match="expected a list of 2, got a list of 1"):
        child("", ["generator.optimizer.betas=[0.9, {remove=true}]"])


def test_what_is_off_is_off_in_the_resolved_recipe_too(child, put, catalog):
    recipe = child("[generator_loss]\nclip_norm.remove = true\n[generator]\nema_rampup_ratio.remove = true\n")
    again = read(put(to_toml(recipe), "resolved.toml"), (), catalog)
    assert again.generator_loss == recipe.generator_loss and again.generator == recipe.generator
    assert fingerprint(again, {}, {}) == fingerprint(recipe, {}, {}) != fingerprint(child(), {}, {})


def test_one_key_of_a_table_that_is_a_default_leaves_the_others(changed):
    loss = changed("generator_loss.critic.lr=0.5", "generator_loss.critic.clip_norm.remove=true").generator_loss.config
    assert (loss.critic.lr, loss.critic.betas, loss.critic.clip_norm) == (0.5, (0.5, 0.9), None)


def test_one_key_of_a_part_that_is_a_default_leaves_the_others(child):
    sets = ["auxiliary_loss.0.kernel.scales=[3]", "auxiliary_loss.0.embeddings.0.depth=7"]
    term = child("", sets).auxiliary_loss[0].config
    assert (term.kernel.name, term.kernel.config.scales) == ("rbf", (3.0,))
    assert [(part.name, part.config.depth) for part in term.embeddings] == [("convnet", 7), ("residual", 2)]
    other = child("", ["auxiliary_loss.0.embeddings=[{use='residual'}]"]).auxiliary_loss[0].config
    assert [(part.name, part.config.depth) for part in other.embeddings] == [("residual", 3)], "a list replaces a list"


def test_another_use_takes_nothing_from_the_default(child):
    term = child("", ["auxiliary_loss.0.embeddings.1={use='convnet'}"]).auxiliary_loss[0].config
    assert [(part.name, part.config.depth) for part in term.embeddings] == [("convnet", 3), ("convnet", 3)]
