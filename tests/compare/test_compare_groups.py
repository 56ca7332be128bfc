"""Which runs belong together, what groups are called, and what may not be compared."""

from __future__ import annotations

import warnings

import pytest

from distillkit.api import UsageError
from distillkit.compare import Run, compare, groups
from distillkit.compare.groups import differences


def read(*paths):
    return [Run.read(path) for path in paths]


def test_runs_that_differ_in_their_seed_alone_are_one_group(folder):
    paths = [folder("sid", [3, 2], seed=seed) for seed in (2, 0, 1)]
    (group,) = groups(read(*paths))
    assert group.label == "sid"
    assert [run.seed for run in group.runs] == [0, 1, 2]
    assert group.seeds == "3"


def test_groups_of_one_recipe_name_say_where_they_differ_from_the_first(folder, tables):
    other = tables(generator_loss={"use": "sid", "alpha": 1.2})
    found = groups(read(folder("sid", [3, 2]), folder("sid", [3, 2], recipe=other)))
    assert [group.label for group in found] == ["sid", "sid alpha=1.2"]


def test_keys_that_do_not_change_a_result_make_no_group(folder, tables):
    other = tables(run={**tables()["run"], "device": "cuda", "tick_kimg": 0.5})
    assert len(groups(read(folder("sid", [3, 2]), folder("sid", [3, 2], seed=1, recipe=other)))) == 1


def test_another_teacher_makes_another_group_but_its_seed_does_not(folder, tables):
    student = tables(teacher_score={"use": "network", "from": "from/teacher.toml"})
    short, long = ({**tables(), "run": {"kimg": kimg, "batch": 8, "seed": 0}} for kimg in (4.0, 8.0))
    reseeded = {**short, "run": {**short["run"], "seed": 5}}
    parents = (short, reseeded, long)
    paths = [folder("s", [3, 2], recipe=student, seed=i, parent=parent) for i, parent in enumerate(parents)]
    found = groups(read(*paths))
    assert [(group.label, len(group.runs)) for group in found] == [("s", 2), ("s kimg=8", 1)]


def test_other_versions_of_a_plugin_make_another_group(folder):
    paths = [folder("sid", [3, 2], seed=i, versions={"distillkit": f"0.{i}"}) for i in (1, 2)]
    assert [group.label for group in groups(read(*paths))] == ["sid", "sid distillkit=0.2"]


def test_of_two_equal_runs_one_counts_and_the_other_is_named(folder):
    first, second = folder("sid", [3, 2]), folder("sid", [3, 2])
    with pytest.warns(UserWarning, match=f"{first} is the same run as {second}"):
        (group,) = groups(read(first, second))
    assert [run.path for run in group.runs] == [second]


def test_runs_that_diverged_are_counted_and_have_no_final_numbers(folder):
    paths = [folder("sid", [3, 2]), folder("sid", [3, "nan"], seed=1, code=4), folder("sid", [3], seed=2, code=None)]
    found = compare(read(*paths))
    assert found.baseline.seeds == "1 of 3, 1 diverged, 1 unfinished"
    assert found.final(found.baseline, "m/fd").n == 1


def test_a_baseline_without_a_finished_run_is_refused(folder):
    with pytest.raises(UsageError, match="no finished run: 0 of 1, 1 diverged"):
        compare(read(folder("sid", [3], code=4)))


def test_differences_stop_at_tables_that_only_one_side_has():
    a = {"generator_loss": {"use": "sid", "alpha": 1.0, "lr": 1}}
    b = {"generator_loss": {"use": "dmd", "beta": 3, "lr": 2}, "auxiliary_loss": [{"use": "el", "weight": "auto"}]}
    assert dict(differences([a, b])) == {
        "generator_loss.use": ["sid", "dmd"],
        "generator_loss.lr": [1, 2],
        "auxiliary_loss.0.use": [None, "el"],
    }


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"evaluate": [{"use": "m", "every_kimg": 1.0, "images": 80}]}, "evaluate m.0.images is 50 in a, 80 in b"),
        ({"dataset": {"use": "points", "size": 7}}, "dataset.size is 100 in a, 7 in b"),
    ],
)
def test_numbers_that_were_not_measured_alike_are_refused_unless_asked_for(folder, tables, changed, told):
    runs = read(folder("a", [3, 2]), folder("b", [3, 2], recipe=tables(**changed)))
    with pytest.raises(UsageError, match=told):
        compare(runs)
    with pytest.warns(UserWarning, match=told):
        assert len(compare(runs, anyway=True).groups) == 2


def test_how_often_was_measured_does_not_matter(folder, tables):
    often = tables(evaluate=[{"use": "m", "every_kimg": 0.5, "images": 50}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(read(folder("a", [3, 2]), folder("b", [3, 2], recipe=often)))


def test_other_versions_in_two_groups_are_told(folder):
    runs = read(folder("a", [3, 2]), folder("b", [3, 2], versions={"distillkit": "0.2.0", "new": "1"}))
    with pytest.warns(UserWarning, match="different versions: distillkit is 0.1.0 in a, 0.2.0 in b"):
        compare(runs)


@pytest.mark.parametrize("name", ["b", "b-folder"])
def test_the_baseline_is_named_by_group_or_by_run(folder, name):
    a, b = folder("a", [3, 2]), folder("b", [3, 2])
    found = compare(read(a, b), baseline=str(b) if name == "b-folder" else name)
    assert found.baseline.label == "b"


@pytest.mark.parametrize("more", [{"baseline": "c"}, {"metrics": ["kid"]}])
def test_unknown_names_are_refused_with_those_there_are(folder, more):
    with pytest.raises(UsageError, match=r"groups: a$|metrics: m/fd$"):
        compare(read(folder("a", [3, 2])), **more)
