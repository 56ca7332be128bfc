"""CHANGELOG.md: what is not released yet, then the releases, newest first."""

from __future__ import annotations

import re
from pathlib import Path

import distillkit

TEXT = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
RELEASES = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", TEXT, re.M)


def test_every_second_heading_is_a_release_and_the_newest_is_this_one() -> None:
    headings = re.findall(r"^## .*$", TEXT, re.M)
    assert headings == ["## [Unreleased]", *[f"## [{version}] - {day}" for version, day in RELEASES]]
    assert RELEASES[0][0] == distillkit.__version__ and sorted(RELEASES, reverse=True) == RELEASES


def test_nothing_has_changed_in_the_first_release() -> None:
    first = TEXT.rpartition("\n## ")[2]
    assert re.findall(r"^### (\w+)", first, re.M) == ["Added", "Added"]


def test_the_lines_are_short_and_every_entry_belongs_to_a_heading() -> None:
    assert [line for line in TEXT.splitlines() if len(line) > 120] == []
    kinds = set(re.findall(r"^### (\w+)", TEXT, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for section in re.split(r"^## ", TEXT, flags=re.M)[1:]:
        assert "\n- " not in section.partition("\n### ")[0]
