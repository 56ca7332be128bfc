"""Pictures of the run: its comparison, figures of its metrics, sheets of fixed seeds."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from distillkit.show import formats, html
from distillkit.show.saved import Saved, table

TRIPTYCHS = "triptych-*.png"  # in a section of their own
NEAREST = "nearest.png"  # a figure of any metric that looks for copies
MOST = 12_000_000  # bytes of sheets on a page; of more, every second is left out, and so on


def all_of(run: Saved) -> str:
    """Other pictures, then the first and the last sheet of fixed seeds, and those between, folded."""
    sheets = html.pictures(run.path / "samples", "kimg-*.png")
    apart = {*sheets, *html.pictures(run.path / "samples", TRIPTYCHS)}
    others = sorted(set(html.pictures(run.path / "samples", "*.png")) - apart)
    others += html.pictures(run.path / "figures", "*.png")
    pictures = [html.picture(path, caption(run, path)) for path in others]
    kept = thinned(sheets)
    drawn = [html.picture(path, caption(run, path), "half sheet", kimg=formats.kimg(nimg_of(path))) for path in kept]
    pictures += drawn if len(drawn) < 3 else [drawn[0], drawn[-1]]
    found = f'<div class="pictures">{"".join(pictures)}</div>' if pictures else ""
    if len(drawn) > 2:
        left = len(sheets) - len(kept)
        between = len(drawn) - 2
        told = f"{between} sheet{'s' * (between > 1)} between{f', and {left} more in samples/' * bool(left)}"
        folded = f'<div class="pictures">{"".join(drawn[1:-1])}</div>'
        found += f'\n<details class="sheets"><summary>{escape(told)}</summary>{folded}</details>'
    return found


def thinned(sheets: list[Path]) -> list[Path]:
    """As many of the sheets as a page can hold, the first and the last always."""
    step = 1
    while sum(path.stat().st_size for path in sheets[::step]) > MOST and step < len(sheets):
        step *= 2
    kept = sheets[::step]
    return kept if not sheets or kept[-1] == sheets[-1] else [*kept, sheets[-1]]


def nimg_of(sheet: Path) -> float:
    """Images that had been seen, by the file's name."""
    found = re.fullmatch(r"(?:kimg|triptych)-(\d{1,12}(?:\.\d{1,6})?)", sheet.stem)
    return 1000 * float(found[1]) if found else 0.0


def caption(run: Saved, path: Path) -> str:
    """What is on a picture: how far, at how many calls, which images."""
    n, nfe = table(run.recipe, "run").get("grid"), run.scores.nfe
    calls = f", NFE {nfe}" if nfe else ""
    turns = ", classes take turns" if table(run.recipe, "dataset").get("conditional") is True else ""
    if path.stem.startswith("kimg-"):
        images = f", images 0 to {n - 1} of seed 0" if type(n) is int and n > 0 else ""
        return f"{formats.kimg(nimg_of(path))} kimg{calls}{images}{turns}"
    if path.name == "comparison.png":
        teacher = f", the teacher's (NFE {run.scores.teacher_nfe})" if run.scores.teacher_nfe else ""
        ours = f"(NFE {nfe}) " if nfe else ""
        return f"comparison: real images{teacher} and the student's {ours}from the same noise{turns}"
    if path.name == NEAREST:
        return "nearest: generated images, each above the training image that is nearest to it"
    return path.stem.replace("_", " ")
