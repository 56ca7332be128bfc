"""What a metric says of its numbers is shown, kept beside them, and on the page of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit.builtin import mixture
from distillkit.cli.main import main

EVALUATE = """
[[evaluate]]
use = "mixture"
images = 64
"""


def test_facts_of_a_metric_are_shown_and_kept_with_the_result(
    tiny: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"protocol": "<ours>", "seeds": "0-63"}
    monkeypatch.setattr(mixture.MixtureMetrics, "facts", facts)
    assert main(["run", str(tiny(EVALUATE)), "--runs", str(tmp_path / "runs"), "--set", "run.kimg=0.032"]) == 0
    (run,) = (tmp_path / "runs").glob("0001-*")
    assert json.loads((run / "result/metrics.json").read_text())["protocol"] == {"mixture": facts}
    assert "mixture: protocol: <ours>; seeds: 0-63" in (run / "log.txt").read_text()
    page = (run / "report.html").read_text()
    assert "<h3>mixture</h3>" in page and "<td>&lt;ours&gt;</td>" in page and "<td>0-63</td>" in page
