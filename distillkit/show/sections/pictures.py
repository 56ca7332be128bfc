"""Pictures of the run: its comparison, figures of its metrics, sheets of fixed seeds."""

from __future__ import annotations

from distillkit.show import html
from distillkit.show.saved import Saved


def all_of(run: Saved) -> str:
    """Those of fixed seeds, first and last, then others, and the pictures among the figures of metrics."""
    sheets = html.pictures(run.path / "samples", "kimg-*.png")
    others = sorted(set(html.pictures(run.path / "samples", "*.png")) - set(sheets))
    others += html.pictures(run.path / "figures", "*.png")
    pictures = [html.picture(path, path.stem.replace("_", " ")) for path in others]
    pair = (
        {"first": sheets[0], "last": sheets[-1]}
        if len(sheets) > 1
        else dict.fromkeys(["samples"][: len(sheets)], *sheets)
    )
    pictures += [html.picture(path, caption, "half") for caption, path in pair.items()]
    return f'<div class="pictures">{"".join(pictures)}</div>' if pictures else ""
