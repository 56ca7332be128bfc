"""A package that is missing is one line, and what was told stays told."""

from __future__ import annotations

from pathlib import Path

import pytest
from distillkit_loggers.once import Told, kind_of, package

from distillkit.api import UsageError


def test_a_missing_package_is_told_with_what_installs_it() -> None:
    with pytest.raises(UsageError, match=r"pip install 'distillkit-loggers\[wandb\]'") as told:
        package("no_such_package", "wandb")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("kimg-000001.600", "samples"), ("triptych-000001.600", "triptych"), ("comparison", "comparison"), ("a-b", "a-b")],
)
def test_pictures_of_one_kind_are_one_series(name: str, kind: str) -> None:
    assert kind_of(Path(f"{name}.png")) == kind


def test_what_was_told_is_known_in_the_next_session(tmp_path: Path) -> None:
    told = Told(tmp_path)
    assert told.first("tick", 50) and not told.first("tick", 50) and told.first("evaluated", 50)
    assert [told.count("step"), told.count("step")] == [0, 1]
    again = Told(tmp_path)
    assert not again.first("tick", 50) and again.first("tick", 51) and again.count("step") == 2


def test_what_a_kill_may_have_lost_is_told_again(tmp_path: Path) -> None:
    told = Told(tmp_path, settles=3600)
    assert told.first("tick", 50) and not told.first("tick", 50)
    assert Told(tmp_path).first("tick", 50)
    told.settle()
    assert not Told(tmp_path).first("tick", 50)
