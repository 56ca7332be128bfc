"""The table of first-party components is what the plugins of this repository make it."""

from __future__ import annotations

import runpy
from pathlib import Path

from distillkit.api import KINDS
from distillkit.registry.known import KNOWN

SCRIPT = Path(__file__).parents[2] / ".ci" / "known.py"


def test_every_kind_in_the_table_exists():
    assert {kind for kind, _ in KNOWN} <= set(KINDS)


def test_the_table_is_written_from_the_entry_points_of_the_plugins():
    made = runpy.run_path(str(SCRIPT))
    assert made["FILE"].read_text() == made["text"](), "run: python .ci/known.py"
