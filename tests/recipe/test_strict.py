"""Values are taken exactly as written, and every problem is named at its line."""

from __future__ import annotations

import pytest

from distillkit.recipe.schema import DEVICES

DEVICE = "must be one of " + ", ".join(f'"{name}"' for name in DEVICES)
WRONG_TYPES = [
    ("run.batch", '"64"', 'expected an integer, got the string "64" | without quotes: 64'),
    ("run.batch", "64.7", "expected an integer, got 64.7 | "),
    ("run.batch", "64.0", "expected an integer, got 64.0 | "),
    ("run.batch", "true", "expected an integer, got true | "),
    ("run.batch", "[64]", "expected an integer, got a list of 1 | "),
    ("run.batch", "2026-01-01", "expected an integer, got the date or time 2026-01-01 | "),
    ("run.batch", "100000000000000000000", "is an integer of more than 64 bits | "),
    ("run.kimg", "false", "expected a number, got false | "),
    ("run.kimg", "nan", "nan is no value to work with | "),
    ("run.kimg", "{}", "expected a number, got a table | "),
    ("run.device", "3", "expected a string, got 3 | "),
    ("run.device", '"gpu"', f'{DEVICE}, got "gpu" | did you mean "xpu"?'),
    ("run.device", '"cdua"', f'{DEVICE}, got "cdua" | did you mean "cuda"?'),
    ("run.seed", "-1", "must be >= 0: -1 | "),
    ("dataset.flip", '"false"', 'expected true or false, got the string "false" | without quotes: false'),
    ("dataset.flip", "1", "expected true or false, got 1 | "),
    ("generator.freeze", '"enc.*"', 'expected a list, got the string "enc.*" | '),
    ("generator.optimizer.betas", "[0.9]", "expected a list of 2, got a list of 1 | "),
    ("generator.optimizer.betas", '"12"', 'expected a list of 2, got the string "12" | '),
    ("generator.optimizer", "3", "expected a table, got 3 | "),
    (
        "generator.network", '"mlp"',
        'expected a table with use, got the string "mlp" | its name is the key use within: use = "mlp"',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "complaint"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_never_coerced(complaints, good, key, value, complaint):
    assert f"--set {key} {complaint}" in complaints(good, [f"{key}={value}"])


def test_a_wrong_entry_of_a_list_is_named_by_its_number(complaints, good):
    found = complaints(good, ['generator.freeze=["a", 2]', "generator.optimizer.betas=[0, nan]"])
    assert found == [
        "--set generator.freeze[1] expected a string, got 2 | ",
        "--set generator.optimizer.betas[1] nan is no value to work with | ",
    ]


def test_unions_dictionaries_and_lists_are_as_strict(complaints, good):
    text = good + '[[evaluate]]\nuse = "fid"\neps = true\nnotes = ["a", 1]\n[evaluate.limits]\na = "1"\n'
    assert complaints(text) == [
        "x.toml:15 evaluate[0].eps expected a number or a string, got true | ",
        "x.toml:16 evaluate[0].notes[1] expected a string, got 1 | ",
        'x.toml:18 evaluate[0].limits.a expected a number, got the string "1" | without quotes: 1',
    ]


def test_an_integer_where_a_number_is_wanted_becomes_a_float(recipe, good):
    run = recipe(good, ["run.tick_kimg=2"]).run
    assert (run.kimg, type(run.kimg), run.tick_kimg) == (100.0, float, 2.0)


def test_infinity_is_refused_where_it_has_no_meaning(recipe, complaints, good):
    assert recipe(good, ["run.guard.worse=inf"]).run.guard.worse == float("inf")
    assert complaints(good + "lr = inf\n[generator.optimizer]\nlr = -inf\nbetas = [inf, 0]\nclip_norm = -inf") == [
        "x.toml:13 generator_loss.lr must be finite, got inf | its default is 1e-05",
        "x.toml:15 generator.optimizer.lr must be finite, got -inf | its default is 1e-05",
        "x.toml:16 generator.optimizer.betas[0] must be finite, got inf | its default is [0.0, 0.999]",
        "x.toml:17 generator.optimizer.clip_norm must be > 0: -inf | ",
    ]
    text = good + '[[evaluate]]\nuse = "fid"\neps = inf\nevery_kimg = 1e999\n[evaluate.limits]\na = -inf\n'
    assert complaints(text) == [
        'x.toml:15 evaluate[0].eps must be finite, got inf | its default is "auto"',
        "x.toml:16 evaluate[0].every_kimg must be finite, got inf | {remove = true} unsets it",
        "x.toml:18 evaluate[0].limits.a must be finite, got -inf | its default is {}",
    ]


def test_every_validator_of_a_table_speaks_and_sees_its_neighbours(complaints, good):
    assert complaints(good + "tmin = 900\nlr = 0\n[generator]\nfrom = 'y.toml'\ndropout = 2") == [
        "x.toml:14 generator_loss.lr must be > 0: 0.0 | ",
        "x.toml:17 generator.dropout must be < 1: 2.0 | ",
    ]
    assert complaints(good + "tmin = 900\ntmax = 1") == ["x.toml:14 generator_loss.tmax must be > tmin = 900.0: 1.0 | "]


def test_a_check_across_defaults_is_reported_at_its_table(complaints, good):
    assert complaints(good + "tmin = 900") == ["x.toml:11 generator_loss 'tmax' must be > tmin = 900.0: 800.0 | "]


def test_lists_and_tables_are_not_taken_for_each_other(complaints, good):
    found = complaints(good + "[evaluate]\nuse = 'fid'\n[[generator]]\n[[sample]]\nuse = 'one-step'")
    assert found == [
        "x.toml:13 evaluate expected a list, got a table | write [[evaluate]]",
        "x.toml:15 generator expected a table, got a list of 1 | write [generator]",
        "x.toml:16 sample expected a table with use, got a list of 1 | write [sample]",
    ]


def test_unknown_tables_and_keys_name_the_nearest_and_the_known_ones(complaints, good):
    found = complaints(good + "alhpa = 1\n[trainer]\n[evalute]\n[teacher_score.optimizer]\nfrm = 1")
    assert found[0] == "x.toml:13 generator_loss.alhpa unknown key | did you mean alpha?   keys here: " + (
        "use, alpha, tmin, tmax, lr, clip_norm, critic"
    )
    assert found[1].startswith("x.toml:14 trainer unknown table | keys here: schema, run, dataset")
    assert found[2].startswith("x.toml:15 evalute unknown table | did you mean evaluate?")
    assert found[3] == "x.toml:16 teacher_score.optimizer unknown key | keys here: use, from, guidance, checkpoint"


def test_what_is_missing_is_named_where_it_belongs(complaints):
    assert complaints("schema = 1\n[run]\nbatch = 4\n[dataset]\npath = 'x'\n[generator_loss]\nuse = 3") == [
        'x.toml generator.init "teacher" needs a [teacher_score] | add [teacher_score], or give [generator] '
        'from, checkpoint or init = "scratch"',
        "x.toml:2 run.kimg missing | ",
        "x.toml:4 dataset.use missing | installed: points",
        "x.toml:7 generator_loss.use expected a string, got 3 | installed: sid",
    ]


def test_all_problems_come_in_one_pass_sorted_by_line(put, catalog):
    from distillkit.recipe import RecipeProblems, read

    path = put("""
        schema = 1
        [run]
        kimg = 10
        batch = 64
        micro_batch = 48
        [dataset]
        use = "points"
        [teacher_score]
        use = "edm"
        checkpoint = "teacher"
        [generator_loss]
        use = "sid"
        alhpa = 1.0
        [[auxiliary_loss]]
        use = "embedding"
        weight = "heavy"
        [[auxiliary_loss.embeddings]]
        use = "convnet"
        [[auxiliary_loss.embeddings]]
        use = "residal"
        """)
    with pytest.raises(RecipeProblems) as caught:
        read(path, ["generator_loss.lr=x"], catalog)
    assert str(caught.value).replace(str(path), "recipes/x.toml") == "\n".join(
        [
            "6 problems in recipes/x.toml; nothing was run.",
            "",
            "  x.toml:5   run.micro_batch  must divide run.batch = 64, got 48",
            "      for example 32",
            "  x.toml:6   dataset.path  missing",
            "  x.toml:13  generator_loss.alhpa  unknown key",
            "      did you mean alpha?   keys here: use, alpha, tmin, tmax, lr, clip_norm, critic",
            "  x.toml:16  auxiliary_loss[0].weight  must be \"auto\" or a number >= 0: 'heavy'",
            '  x.toml:20  auxiliary_loss[0].embeddings[1].use  no embedding named "residal"',
            '      did you mean "residual"?   installed: convnet, residual',
            '  --set      generator_loss.lr  expected a number, got the string "x"',
        ]
    )
    assert caught.value.exit_code == 2
