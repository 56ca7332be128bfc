"""A batch is shared among processes, or it is said why it cannot be."""

from __future__ import annotations

import pytest

from distillkit.api import UsageError
from distillkit.train.ranks.alone import passes
from distillkit.train.ranks.shares import check


@pytest.mark.parametrize(
    ("batch", "micro_batch", "size", "told"),
    [
        (4, None, 8, "run.batch = 4 gives work to at most 4 processes, not 8"),
        (256, 64, 8, "run.micro_batch = 64 makes 4 passes, for at most 4 processes; 32 would do for 8"),
        (6, 3, 5, "run.micro_batch = 3 makes 2 passes, for at most 2 processes; 1 would do for 5"),
        (4, 2, 8, "run.micro_batch = 2 makes 2 passes, for at most 2 processes"),
    ],
)
def test_processes_without_work_are_refused_with_the_way_out(batch, micro_batch, size, told) -> None:
    with pytest.raises(UsageError) as refusal:
        check(batch, micro_batch, size)
    assert str(refusal.value) == told


@pytest.mark.parametrize(
    ("batch", "micro_batch", "size", "told"),
    [
        (256, 64, 3, "4 passes: 2 of 3 processes wait half of the time"),
        (10, 2, 2, "5 passes: 1 of 2 processes wait 33% of the time"),
        (256, 64, 2, ""),
        (255, None, 4, ""),
    ],
)
def test_processes_that_wait_are_told(batch, micro_batch, size, told) -> None:
    assert check(batch, micro_batch, size) == told
    rows = [sum(n for _, n in passes(batch, micro_batch, rank, size)) for rank in range(size)]
    assert sum(rows) == batch and min(rows) > 0
    assert (max(rows) - min(rows) > 1) == bool(told)
