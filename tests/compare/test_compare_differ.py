"""What stands out in a comparison: a difference beyond chance by a stated test."""

from __future__ import annotations

import statistics

import pytest

from distillkit.compare import Run, compare, tables
from distillkit.compare.curves import Spread
from distillkit.compare.differ import differ, gain


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((1.0, 0.1, 3), (2.0, 0.1, 3), True),
        ((1.0, 0.4, 3), (2.0, 0.5, 3), False),  # t = 2.7 with 3.8 degrees of freedom: 3.182 is the 5 % limit
        ((1.0, 0.4, 30), (2.0, 0.5, 30), True),
        ((1.0, 0.0, 2), (2.0, 0.0, 2), True),
        ((1.0, 0.0, 2), (1.0, 0.0, 2), False),
        ((1.0, None, 1), (2.0, 0.1, 3), False),
    ],
)
def test_welchs_test(a, b, expected) -> None:
    assert differ(Spread(*a), Spread(*b)) == differ(Spread(*b), Spread(*a)) == expected


def test_it_is_scipys_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = stats.norm(0, 1)
    agree = []
    for seed in range(200):
        a, b = rng.rvs(4, random_state=seed).tolist(), (rng.rvs(6, random_state=1000 + seed) * 2 + 1.5).tolist()
        p = stats.ttest_ind(a, b, equal_var=False).pvalue
        agree.append(differ(Spread.of(a), Spread.of(b)) == (p < 0.05))
    assert statistics.fmean(agree) > 0.97, "but for degrees of freedom that are rounded down"


def test_a_gain_is_in_the_known_direction() -> None:
    low, high = Spread(1.0, 0.1, 3), Spread(2.0, 0.1, 3)
    assert gain(low, high, higher=False) == 1.0 == -gain(low, high, higher=True)
    assert gain(low, high, higher=None) == 0.0 == gain(low, low, higher=False)


def test_only_what_beats_all_others_beyond_chance_is_bold(folder) -> None:
    def table(best: list[float]) -> list[bool]:
        ends = {"a": [5.0, 5.1, 4.9], "b": [4.0, 4.1, 3.9], "c": best}
        runs = [folder(f"{name}{best}", [9, end], seed=i) for name, each in ends.items() for i, end in enumerate(each)]
        made = tables.final(compare([Run.read(path) for path in runs]))
        assert bool(made.note) == any(cell.best for row in made.rows for cell in row)
        return [row[1].best for row in made.rows[:3]]

    assert table([2.0, 2.1, 1.9]) == [False, False, True]
    assert table([1.0, 4.5, 3.0]) == [False, False, False]
