"""`extends`, `--set` and a method's defaults: what lies over what, and where a problem is said to be."""

from __future__ import annotations

import pytest

from distillkit.recipe import RecipeProblems, read

CHILD = 'schema = 1\nextends = "base.toml"\n'


@pytest.fixture
def child(put, good, catalog):
    """Read a child of the good recipe with two terms."""

    def read_child(text: str, sets=()):
        put(good + '[[auxiliary_loss]]\nuse = "embedding"\n[[auxiliary_loss]]\nuse = "embedding"\n', "base.toml")
        return read(put(CHILD + text, "child.toml"), sets, catalog)

    return read_child


def test_tables_merge_and_lists_are_replaced(child):
    recipe = child('[run]\nkimg = 7\n[[auxiliary_loss]]\nuse = "embedding"\nweight = 2.0\n')
    assert (recipe.run.kimg, recipe.run.batch) == (7.0, 64)
    assert [term.slot.weight for term in recipe.auxiliary_loss] == [2.0]


def test_a_table_with_another_use_replaces_the_whole_table(child):
    recipe = child('[sample]\nuse = "few-step"\nsigmas = [80, 1]\n')
    assert recipe.sample.config.sigmas == (80.0, 1.0)


def test_a_methods_defaults_lie_beneath_the_file(child):
    recipe = child("[generator.optimizer]\nlr = 0.5\n")
    assert recipe.sample.config.sigma_init == 1.5
    assert (recipe.generator.optimizer.betas, recipe.generator.optimizer.lr) == ((0.0, 0.99), 0.5)
    assert child("[sample]\nsigma_init = 3").sample.config.sigma_init == 3.0


def test_a_problem_in_an_extended_file_names_that_file(child, put, catalog):
    with pytest.raises(RecipeProblems) as caught:
        child("[run]\nkimg = 7\nbatsh = 2\n[dataset]\nsize = 0\nuse = 'points'\n", ["run.threads=0"])
    assert [p.place for p in caught.value.problems] == ["child.toml:5", "child.toml:7", "--set"]
    put("schema = 1\n[run]\nbatsh = 1\n", "base.toml")
    with pytest.raises(RecipeProblems) as caught:
        read(put(CHILD + "[run]\nbatch = 2", "child.toml"), (), catalog)
    assert "base.toml:3" in [p.place for p in caught.value.problems]
    assert str(caught.value).splitlines()[0].endswith("child.toml; nothing was run.")


def test_a_replaced_table_leaves_no_line_numbers_behind(child):
    with pytest.raises(RecipeProblems) as caught:
        child("[[auxiliary_loss]]\nuse = 'embedding'\nweigth = 1\n", ["dataset.use=pints"])
    assert [(p.place, p.key) for p in caught.value.problems] == [
        ("child.toml:5", "auxiliary_loss[0].weigth"),
        ("--set", "dataset.use"),
    ]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ('"/etc/x.toml"', "must be the relative path of a .toml file, or a shipped recipe's name, or a list of such"),
        ('"x.json"', "must be the relative path of a .toml file, or a shipped recipe's name, or a list of such"),
        ("3", "must be the relative path of a .toml file, or a shipped recipe's name, or a list of such"),
        ('"nowhere.toml"', 'no such file: "nowhere.toml"'),
        ('"x.toml"', "goes in a circle: x.toml -> x.toml"),
    ],
)
def test_a_bad_extends_is_one_problem_at_its_line(complaints, name, complaint):
    (told,) = complaints(f"schema = 1\n\nextends = {name}\n")
    hint = "distillkit recipes lists those that are shipped" if "no such file" in complaint else ""
    assert told == f"x.toml:3 extends {complaint} | {hint}"


def test_later_files_of_a_list_lie_over_earlier_ones(put, good, catalog):
    put(good, "base.toml")
    put("schema = 1\n[run]\nkimg = 1\nbatch = 8\n[sample]\nuse = 'few-step'\nsigmas = [1]\n", "a.toml")
    put("schema = 1\nextends = 'deep.toml'\n[run]\nkimg = 2\n", "b.toml")
    put("schema = 1\n[run]\nseed = 5\n[sample]\nuse = 'one-step'\n", "deep.toml")
    text = "schema = 1\nextends = ['base.toml', 'a.toml', 'b.toml']\n[run]\nthreads = 3\n"
    recipe = read(put(text), (), catalog)
    assert (recipe.run.kimg, recipe.run.batch, recipe.run.seed, recipe.run.threads) == (2, 8, 5, 3)
    assert recipe.sample.name == "one-step", "a file is merged with what it extends before it lies over the one before"


def test_a_table_over_a_list_changes_the_entries_it_numbers(child):
    recipe = child("[auxiliary_loss.1]\nweight = 2.0\n")
    assert [term.slot.weight for term in recipe.auxiliary_loss] == ["auto", 2.0]
    with pytest.raises(RecipeProblems) as caught:
        child("[auxiliary_loss.1]\nweigth = 2.0\n")
    assert [(p.place, p.key) for p in caught.value.problems] == [("child.toml:4", "auxiliary_loss[1].weigth")]
    with pytest.raises(RecipeProblems, match="auxiliary_loss  expected a list, got a table"):
        child("[auxiliary_loss.2]\nweight = 2.0\n")


def test_the_same_part_may_be_used_twice_but_not_a_hundred_times(put, good, catalog):
    put(good, "x0.toml")
    for n in range(1, 9):
        put(f"schema = 1\nextends = ['x{n - 1}.toml', 'x{n - 1}.toml']\n", f"x{n}.toml")
    assert read(put("schema = 1\nextends = ['x2.toml', 'x3.toml']\n", "y.toml"), (), catalog).run.kimg == 100
    with pytest.raises(RecipeProblems, match="extends  made of more than 100 files"):
        read(put("schema = 1\nextends = 'x8.toml'\n", "y.toml"), (), catalog)


def test_from_is_relative_to_the_file_that_says_it(tmp_path, put, good, catalog):
    (tmp_path / "parts").mkdir()
    (tmp_path / "link").symlink_to("parts")
    teacher = "schema = 1\n[teacher_score]\nuse = 'edm'\ncheckpoint = {remove = true}\nfrom = '../t.toml'\n"
    put(good, "t.toml")
    put(teacher, "parts/teacher.toml")
    put(good.replace('checkpoint = "teacher"\n', ""), "base.toml")
    for folder in ("parts", "link"):
        recipe = read(put(f"schema = 1\nextends = ['base.toml', '{folder}/teacher.toml']\n"), (), catalog)
        assert recipe.starts_from == {"teacher_score": "t.toml"}
        assert recipe.start_paths == {"teacher_score": tmp_path / "t.toml"}


def test_set_reaches_tables_list_entries_and_plain_words(recipe, good):
    text = good + '[[auxiliary_loss]]\nuse = "embedding"\n'
    sets = ["auxiliary_loss.0.weight=2.5", "run.device=cpu", "dataset.path = other file.npz", "generator.freeze=['a']"]
    got = recipe(text, [*sets, 'evaluate=[{use = "fid", every_kimg = 5}]', "evaluate.0.images=7"])
    assert got.auxiliary_loss[0].slot.weight == 2.5
    assert (got.run.device, got.dataset.config.path, got.generator.freeze) == ("cpu", "other file.npz", ("a",))
    assert (got.evaluate[0].slot.every_kimg, got.evaluate[0].config.images) == (5.0, 7)


def test_setting_another_use_drops_the_keys_of_the_old_one(recipe, good):
    got = recipe(good + "[sample]\nuse = 'one-step'\nsigma_init = 9", ["sample.use=few-step", "sample.sigmas=[1]"])
    assert got.sample.config.sigmas == (1.0,)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("run.kimg", 'x "run.kimg" is not KEY=VALUE'),
        ("run..kimg=1", 'x "run..kimg=1" is not KEY=VALUE'),
        ("run.kimg.x=1", "run.kimg.x run.kimg is a value, not a table"),
        ("generator.freeze.0=1", "generator.freeze[0] expected a string, got 1"),
        ("auxiliary_loss.3.weight=1", "auxiliary_loss.3 auxiliary_loss has 0 entries, numbered from 0"),
        ("run.seed=1\nkimg=2", "x has characters that cannot be printed"),
        ("run.kimg=" + "[" * 5000, "run.kimg expected a number, got the string"),
    ],
)
def test_a_bad_setting_is_a_problem_like_any_other(complaints, good, text, complaint):
    found = complaints("auxiliary_loss = []\n" + good + "[generator]\nfreeze = ['a']", [text])
    assert len(found) == 1 and complaint.removeprefix("x ") in found[0]


def test_defaults_by_use_are_looked_up_like_tables(recipe, good):
    term = recipe(good + '[[auxiliary_loss]]\nuse = "embedding"\n').auxiliary_loss[0].config
    assert [(part.name, part.config.depth) for part in term.embeddings] == [("convnet", 3), ("residual", 2)]
    assert (term.kernel.name, term.kernel.cls.__name__, term.second) == ("rbf", "Rbf", None)


def test_a_default_that_is_not_installed_says_what_to_install(put, good, catalog):
    from attrs import evolve

    bare = evolve(catalog, offers=tuple(offer for offer in catalog.offers if offer.kind != "kernel"))
    with pytest.raises(RecipeProblems) as caught:
        read(put(good + '[[auxiliary_loss]]\nuse = "embedding"\n'), (), bare)
    (problem,) = caught.value.problems
    assert (problem.key, problem.message) == ("auxiliary_loss[0].kernel.use", 'no kernel named "rbf"')
    assert problem.hint == "pip install distillkit-kernels   installed: none"


def test_made_with_is_known_and_ignored(recipe, good):
    assert recipe(good + "[made_with]\ntorch = '2.13.0'\n") == recipe(good)


def test_a_method_that_cannot_be_had_hides_what_it_would_have_brought(complaints, good):
    found = complaints(good.replace('"sid"', '"dmd"'))
    assert found == ['x.toml:12 generator_loss.use no generator_loss named "dmd" | pip install distillkit-dmd   '
                     "installed: sid"]  # fmt: skip


def test_a_recipe_beside_the_one_asked_for_is_started_from_first(tmp_path, put, good, catalog):
    for folder in ("base", "mine"):
        (tmp_path / folder).mkdir()
    put(good.replace('checkpoint = "teacher"', 'from = "t.toml"'), "base/base.toml")
    put(good, "base/t.toml")
    mine = put("schema = 1\nextends = '../base/base.toml'\n", "mine/mine.toml")
    assert read(mine, (), catalog).start_paths == {"teacher_score": tmp_path / "mine/../base/t.toml"}
    put(good, "mine/t.toml")
    assert read(mine, (), catalog).starts_from == {"teacher_score": "t.toml"}
