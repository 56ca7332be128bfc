"""Eight trials of each kind with a fixed seed; `python -m tests.chaos --n 1000` makes more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kinds", [["recipes"], ["damage", "kills"]], ids=" ".join)
def test_eight_trials_go_well(kinds: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.chaos", *kinds, "--n", "8", "--keep", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"{kind}: 8 trials" in done.stdout for kind in kinds) and "0 went wrong" in done.stdout
