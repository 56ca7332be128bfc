"""The section Training: a sentence under each curve, and what nobody reads folded away."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from distillkit.api.curves import GENERAL
from distillkit.show.report import rendered

CURVES = {"loss/generator": "It falls <slowly>.", "embedding/*": "One space.", "fd/*": "A distance."}
NAMES = [
    "loss/generator", "loss/odd", "grad_norm/generator", "lr/generator", "img_per_sec", "odd", "fd/convnet",
    *(f"embedding/{i}" for i in range(3)),
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [{"what": "tick", "nimg": n, **{name: float(n) for name in NAMES}} for n in (1000, 2000, 3000)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "x", "told": {"curves": CURVES}}))
    (tmp_path / "resolved.toml").write_text("schema = 1\n")
    return tmp_path


def titles(html: str) -> list[str]:
    return re.findall(r'<svg [^>]*aria-label="([^"]*)"', html)


def test_each_curve_has_its_sentence_from_the_run_or_the_general_ones(run: Path) -> None:
    page = rendered(run)
    for name, text in (("loss/generator", "It falls &lt;slowly&gt;."), ("grad_norm/generator", GENERAL["grad_norm/*"])):
        chart = page.split(f'aria-label="{name}"')[1].split("</div>")[0]
        assert f'<p class="meaning">{text}</p>' in chart
    assert "meaning" not in page.split('aria-label="odd"')[1].split("</div>")[0]


def test_the_schedule_unknown_curves_and_many_of_a_kind_are_folded_away(run: Path) -> None:
    shown, folded = rendered(run).split("<details", 1)
    assert titles(shown) == ["loss/generator", "loss/odd", "grad_norm/generator", "fd/convnet"]
    assert titles(folded) == ["lr/generator", "img_per_sec", "odd", "embedding/0", "embedding/1", "embedding/2"]
    assert "more curves: lr/generator, img_per_sec, odd, embedding/0" in folded


def test_a_run_that_noted_nothing_has_the_general_sentences(run: Path) -> None:
    for made in ({"recipe": "x"}, {"recipe": "x", "told": ["no table"]}, {"told": {"curves": 1}}):
        (run / "run.json").write_text(json.dumps(made))
        page = rendered(run)
        assert GENERAL["grad_norm/*"] in page and "It falls" not in page
