"""What a metric says of its numbers is shown, kept beside them, and on the page of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit.api import Evaluate
from distillkit.builtin import mixture
from distillkit.cli.main import main
from distillkit.evaluate import evaluation

EVALUATE = """
[[evaluate]]
use = "mixture"
images = 64
"""


def test_facts_of_a_metric_are_shown_and_kept_with_the_result(
    tiny: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"protocol": "<ours>", "seeds": "0-63"}
    monkeypatch.setattr(mixture.MixtureMetrics, "protocol", facts)
    monkeypatch.setattr(evaluation, "SLOW", -1.0)
    assert main(["run", str(tiny(EVALUATE)), "--runs", str(tmp_path / "runs"), "--set", "run.kimg=0.032"]) == 0
    (run,) = (tmp_path / "runs").glob("0001-*")
    assert json.loads((run / "result/metrics.json").read_text())["protocol"] == {"mixture": facts}
    told = capsys.readouterr().out
    assert told.count("mixture: protocol: <ours>; seeds: 0-63") == 1
    assert "evaluated mixture: 64 images in 0 s, " in told  # where it is slow
    page = (run / "report.html").read_text()
    assert "<h3>mixture</h3>" in page and "<td>&lt;ours&gt;</td>" in page and "<td>0-63</td>" in page


class Former(Evaluate):
    """Tells as the documents of 0.1.0 say, with its base's facts."""

    @property
    def facts(self) -> dict[str, str]:
        return {"images": "64", **super().facts}


class Present(Evaluate):
    """Tells as they say now."""

    @property
    def protocol(self) -> dict[str, str]:
        return {"images": "64", **super().protocol}


def test_facts_are_still_read_where_a_plugin_has_no_protocol() -> None:
    with pytest.warns(DeprecationWarning, match="Former.facts goes with distillkit 0.2: write the property protocol"):
        assert Former(None).protocol == {"images": "64"}


def test_a_protocol_is_still_told_as_facts(recwarn: pytest.WarningsRecorder) -> None:
    assert Present(None).protocol == Present(None).facts == {"images": "64"}
    assert Evaluate(None).protocol == Evaluate(None).facts == {}
    assert not recwarn
