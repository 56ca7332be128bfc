"""benchmarks/gpu.py, the script for a few minutes with a GPU: it runs to its end where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def test_the_script_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert all(check["passed"] for check in found["checks"]) and len(found["checks"]) >= 14
    assert {speed["case"]["recipe"] for speed in found["speeds"]} == {"cifar10_uncond_sid", "imagenet64_sid"}
    assert not found["left_out"] and "| img/s |" in (tmp_path / "gpu.md").read_text()
