"""Claims by hand: Student's interval, gains of both measures, verdicts, looks, and what a file may not say."""

from __future__ import annotations

import math

import pytest

from distillkit.api import UsageError
from distillkit.recipe import RecipeProblems
from distillkit.registry import Catalog
from distillkit.study import read
from distillkit.study.claim import Claim, Gain, Interval, student
from distillkit.study.judge import gain, judge
from distillkit.study.record import Row
from distillkit.study.tell import sentence
from distillkit.testing import tiny_recipe

CATALOG = Catalog.installed()
CELLS = (
    '[[cell]]\nlabel = "none"\nrecipe = "base.toml"\n[[cell]]\nlabel = "EL"\nrecipe = "base.toml"\nset=["run.kimg=3"]\n'
)
SAYS = '[[claim]]\nsays = "EL helps"\narm = "EL"\nmetric = "frechet/sfd"\n'
AXES = """
[[vary.host]]
label = "SiD"
recipe = "base.toml"
[[vary.host]]
label = "CD"
recipe = "base.toml"
set = ["run.kimg=2"]
[[vary.term]]
label = "none"
[[vary.term]]
label = "EL"
set = ["run.batch=4"]
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "base.toml").write_text(tiny_recipe("edm"))

    def made(text, head="seeds = [0, 1, 2]"):
        (tmp_path / "study.toml").write_text(f'schema = 1\nname = "s"\n{head}\n{text}')
        return read(tmp_path / "study.toml", CATALOG)

    return made


def row(cell, seed, sfd, way=(), state="finished"):
    made = [(round(1000 * kimg), 0.0, {"frechet/sfd": value}) for kimg, value in way]
    return Row(cell, seed, f"{cell}{seed}", state, 8000, 1.0, {"frechet/sfd": sfd}, {"frechet/sfd": "lower"}, made)


def test_students_quantiles_are_those_of_the_tables():
    table = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 10: 2.22814, 30: 2.04227}
    assert {n: student(0.95, n) for n in table} == pytest.approx(table, rel=1e-5)
    assert (student(0.99, 4), student(0.975, 2)) == pytest.approx((4.60409, 6.20535), rel=1e-5)


def test_an_interval_by_hand():
    found = Interval.of([Gain(0.03), Gain(0.04), Gain(0.05)], 0.95)  # sd 0.01, error 0.01 / sqrt(3)
    assert (found.low, found.mean, found.high) == pytest.approx((0.04 - 0.0248414, 0.04, 0.04 + 0.0248414), rel=1e-4)
    assert [found.verdict(least) for least in (0.0, 0.0151, 0.0152, 0.0648, 0.0649)] == [
        "holds", "holds", "open", "open", "refuted"
    ]  # fmt: skip
    assert Interval.of([Gain(1.0)], 0.95).verdict(0.0) == "open"  # one seed shows nothing


def test_a_bound_can_refute_but_not_support():
    assert Interval.of([Gain(1.0), Gain(1.01, at_most=True)], 0.95).verdict(0.0) == "open"
    assert Interval.of([Gain(-1.0), Gain(-1.01, at_most=True)], 0.95).verdict(0.0) == "refuted"


def test_gain_in_images_is_the_ratio_at_which_both_are_as_good_as_the_others_end():
    claim = Claim(says="s", arm="EL", metric="frechet/sfd", measure="images", least=2.0)
    none = row("none", 0, 0.3, [(0, 0.9), (2, 0.5), (4, 0.3), (6, 0.3), (8, 0.3)])
    assert gain(claim, row("EL", 0, 0.2, [(0, 0.9), (1, 0.5), (2, 0.3), (8, 0.2)]), none, 0.0).value == pytest.approx(
        math.log(4 / 2)
    )
    half = gain(claim, row("EL", 0, 0.2, [(0, 0.9), (1, 0.5), (2, 0.1)]), none, 0.0)  # straight between 0.5 and 0.1
    assert (half.value, half.at_most) == (pytest.approx(math.log(4 / 1.5)), False)
    never = gain(claim, row("EL", 0, 0.4, [(0, 0.9), (8, 0.4)]), none, 0.0)
    assert (never.value, never.at_most) == (pytest.approx(math.log(4 / 8)), True)
    assert claim.needed == math.log(2)


def test_gain_at_the_end_is_positive_where_the_metric_is_better():
    claim = Claim(says="s", arm="EL", metric="frechet/sfd")
    assert gain(claim, row("EL", 0, 0.2), row("none", 0, 0.3), 0.05).value == pytest.approx(0.1)
    higher = Row("EL", 0, "a", "finished", 1, 1.0, {"x": 0.9}, {"x": "higher"})
    assert gain(Claim(says="s", arm="EL", metric="x"), higher, higher, 0.05).value == 0
    with pytest.raises(UsageError, match="has no metric 'frechet/none'; it has frechet/sfd"):
        gain(Claim(says="s", arm="EL", metric="frechet/none"), row("EL", 0, 1), row("none", 0, 1), 0)
    with pytest.raises(UsageError, match="nothing says which way 'odd' is better"):
        odd = Row("EL", 0, "a", "finished", 1, 1.0, {"odd": 0.9})
        gain(Claim(says="s", arm="EL", metric="odd"), odd, odd, 0)


def rows(gains, cells=("none", "EL"), end=0.3):
    return [row(cell, seed, end - by * (cell == cells[1])) for seed, by in enumerate(gains) for cell in cells]


def test_a_claim_of_cells_is_judged_over_the_seeds_of_the_look(study):
    read_ = study(CELLS + SAYS)
    (one,) = judge(read_, rows([0.03, 0.04, 0.05]), (0, 1, 2))
    assert (one.arm, one.against, one.seeds, one.verdict, one.decided) == ("EL", "none", 3, "holds", True)
    assert sentence(one) == "frechet/sfd: better by 0.04, 95 % interval 0.01516 to 0.06484, 3 seeds"
    (one,) = judge(read_, rows([0.03, 0.04, 0.05])[:5], (0, 1, 2))
    assert (one.seeds, one.verdict, one.decided) == (2, "waiting", False)
    (one,) = judge(read_, [], (0, 1, 2))
    assert (one.verdict, sentence(one)) == ("waiting", "frechet/sfd: no seed that both have")


def test_each_look_costs_its_share_of_the_confidence(study):
    once, twice = study(CELLS + SAYS), study(CELLS + SAYS, "seeds = [0, 1, 2]\nlooks = [2, 3]")
    made = rows([0.03, 0.04, 0.05])
    (a,), (b,) = (judge(one, made, (0, 1, 2)) for one in (once, twice))
    ratio = (b.interval.high - b.interval.mean) / (a.interval.high - a.interval.mean)
    assert ratio == pytest.approx(6.20535 / 4.30265, rel=1e-5)  # of 97.5 and of 95 %


def test_an_arm_that_diverges_is_refuted_and_against_one_that_does_nothing_is_shown(study):
    made = [row("none", 0, 0.3), row("EL", 0, 0.1, state="diverged")]
    (one,) = judge(study(CELLS + SAYS), made, (0,))
    assert (one.verdict, sentence(one)) == ("refuted", "frechet/sfd: EL diverged with seed 0")
    made = [row("none", 0, 0.3, state="collapsed"), row("EL", 0, 0.1)]
    assert judge(study(CELLS + SAYS), made, (0,))[0].verdict == "open"


def test_a_claim_of_an_option_is_one_for_each_row(study):
    read_ = study(AXES + SAYS)
    made = [*rows([0.03, 0.04, 0.05], ("SiD, none", "SiD, EL")), *rows([-0.1, -0.11, -0.12], ("CD, none", "CD, EL"))]
    assert [(one.where, one.verdict) for one in judge(read_, made, (0, 1, 2))] == [("SiD", "holds"), ("CD", "refuted")]


@pytest.mark.parametrize(
    ("text", "head", "told"),
    [
        (CELLS + SAYS.replace('"EL"', '"LE"'), "seeds = [0]", "claim[0]  'LE' is in no row and no cell"),
        (CELLS + SAYS + 'against = "x"', "seeds = [0]", "'EL' and 'x' are in no row and no cell"),
        (CELLS + SAYS.replace('"EL"', '"none"'), "seeds = [0]", "'none' is compared with itself"),
        (AXES + SAYS.replace('"EL"', '"none"'), "seeds = [0]", "'none' is compared with itself"),
        (CELLS + SAYS + 'measure = "speed"', "seeds = [0]", "claim[0].measure"),
        (CELLS + SAYS + 'measure = "images"\nleast = 0.0', "seeds = [0]", "'least' must be a number, above 0"),
        (CELLS + SAYS + "confidence = 95.0", "seeds = [0]", "claim[0].confidence"),
        (
            CELLS + SAYS,
            "seeds = [0, 1, 2]\nlooks = [1, 3]",
            "looks  must grow from 2 or more to the number of seeds, 3",
        ),
        (CELLS + SAYS, "seeds = [0, 1, 2]\nlooks = [2]", "looks  must grow from 2"),
        (CELLS, "seeds = [0, 1]\nlooks = [2]", "looks  has no meaning without a [[claim]]"),
        (CELLS, "seeds = [0, 1]\ncore_hours = 2.0", "core_hours  has no meaning without a [[claim]]"),
    ],
)
def test_what_cannot_be_tested_is_told_before_anything_runs(study, text, head, told):
    with pytest.raises(RecipeProblems) as caught:
        study(text, head)
    assert told in str(caught.value)


def test_two_arms_that_are_the_same_gain_nothing():
    assert Interval.of([Gain(0.0)] * 3, 0.95).verdict(0.0) == "refuted"
    assert Interval.of([Gain(0.0)] * 3, 0.95).verdict(-0.1) == "holds"


def test_what_was_reached_at_the_first_evaluation_may_have_been_reached_before():
    claim = Claim(says="s", arm="EL", metric="frechet/sfd", measure="images")
    early, late = [(2, 0.3), (4, 0.3), (6, 0.3)], [(2, 0.9), (4, 0.3), (6, 0.3), (8, 0.3)]
    arm = gain(claim, row("EL", 0, 0.3, early), row("none", 0, 0.3, late), 0.0)
    assert (arm.value, arm.at_most, arm.at_least) == (pytest.approx(math.log(2)), False, True)
    other = gain(claim, row("EL", 0, 0.3, late), row("none", 0, 0.3, early), 0.0)
    assert (other.value, other.at_most, other.at_least) == (pytest.approx(-math.log(2)), True, False)
    assert Interval.of([arm, arm], 0.95).verdict(math.log(3)) == "open"  # it may be faster than that
    assert Interval.of([other, other], 0.95).verdict(-5.0) == "open"
    at_end = [(8, 0.3)]  # measured there alone: nothing is known
    both = gain(claim, row("EL", 0, 0.3, at_end), row("none", 0, 0.3, at_end), 0.0)
    assert Interval.of([both, both], 0.95).verdict(0.0) == "open"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_decides_nothing(study, value):
    made = [*rows([0.03, 0.04]), row("none", 2, 0.3), row("EL", 2, value)]
    (one,) = judge(study(CELLS + SAYS), made, (0, 1, 2))
    assert (one.verdict, sentence(one)) == ("open", "frechet/sfd: EL has one that is not finite with seed 2")
    made[-1] = row("EL", 2, 0.3, [(1, value), (2, 0.3)])
    assert judge(study(CELLS + SAYS), made, (0, 1, 2))[0].interval is not None  # what counts is the end


def test_one_seed_is_too_few_for_a_claim(study):
    with pytest.raises(RecipeProblems, match="one seed decides no claim"):
        study(CELLS + SAYS, "seeds = [0]")
