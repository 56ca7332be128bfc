"""How a process of several ends, and what the launcher makes of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from distillkit.launch.task import End, outcome
from distillkit.train.ranks.said import portable

ENDS = """
import atexit, time
from distillkit.train.ranks.ending import Ending
ending = Ending()
atexit.register(print, "cleaned up")
class Late:
    def __del__(self): print("Python went on to end itself")
late = Late()
ending.code = {code}
raise SystemExit({code})
"""


def ended(code: int, **environ: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", ENDS.format(code=code)], env={**os.environ, **environ},
                          capture_output=True, text=True, check=False)  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("code", [0, 5])
def test_one_of_several_leaves_with_its_code_after_all_others_have_cleaned_up(code: int) -> None:
    assert ended(code, RANK="1") == (code, "cleaned up\n")


def test_a_process_alone_ends_as_always() -> None:
    assert ended(5) == (5, "cleaned up\nPython went on to end itself\n")


def test_of_those_that_a_signal_stopped_rank_0_says_how_it_was_whoever_left_first() -> None:
    found = outcome([End(1, "b", 75), End(0, "a", 130)], stopped=True)
    assert (found.code, found.said) == (130, True)


def test_a_crash_on_the_way_out_does_not_hide_what_rank_0_saved() -> None:
    assert outcome([End(1, "b", -6), End(0, "a", 75)], stopped=True).code == 75


def test_what_a_rank_had_told_the_others_is_not_said_twice() -> None:
    assert outcome([End(1, "b", 5), End(0, "a", 6)], stopped=False).said is True
    assert outcome([End(1, "b", 1, "bug: x"), End(0, "a", 6)], stopped=False).said is False


def test_an_error_of_several_lines_is_told_in_one_and_with_its_own_rank_alone() -> None:
    assert str(portable(ValueError("broke\nin two"))) == "rank 0: ValueError: broke in two"
    assert str(portable(ValueError("broke"), 1)) == "ValueError: broke"
