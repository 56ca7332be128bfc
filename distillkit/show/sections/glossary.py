"""What the metrics of the run and the words of the page mean, without a mouse to hover."""

from __future__ import annotations

from html import escape

from distillkit.show.saved import Saved

TITLE, ID = "What they mean", "what-they-mean"
BETTER = {"lower": "Lower is better.", "higher": "Higher is better."}
# The same sentences as in docs/glossary.md, which a test sees to.
WORDS = {
    "NFE": "network calls per image",
    "kimg": "thousands of images that the student has been trained on",
    "EMA": "running average of the student's weights: what is sampled, measured and kept",
    "floor": "what real images get in a distance with as many images: no generator is expected to be below it",
    "ceiling": "what real images get in precision, recall, density, coverage: no generator is expected to be above it",
    "tick": "a line of the log: means since the last one",
}


def words(run: Saved) -> str:
    """The metrics first, in the order of the table, then words."""
    found = {}
    for row in run.scores.rows():
        said = " ".join(filter(None, (run.meaning(row.name), BETTER.get(run.way(row.name) or ""))))
        if said:
            found[row.name] = said
    if not run.rows:
        return ""
    lines = [f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in (found | WORDS).items()]
    return f'<dl class="words">{"".join(lines)}</dl>'
