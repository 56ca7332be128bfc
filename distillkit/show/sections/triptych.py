"""What teacher and fake score make of the student's images: where its gradient comes from."""

from __future__ import annotations

from pathlib import Path

from distillkit.show import formats, html
from distillkit.show.saved import Saved
from distillkit.show.sections import pictures

READ = (
    "The student's images, with noise at three levels, and what the teacher and the fake score make of them. A "
    "method with two scores pushes the student from what the fake score sees towards what the teacher sees, along "
    "their difference (grey: none, white: brighter). In a healthy run the fake score's row looks like the "
    "student's own images, and the difference fades as these get better. Where both rows agree although the "
    "images are bad, the gradient is gone: the fake score is still the teacher, it does not learn. Where the fake "
    "score's row shows other images than the student's, it does not follow: more updates or a higher lr for it, "
    "or a lower lr for the student."
)


def sheets(run: Saved) -> str:
    """How to read the newest sheet, the sheet, and the earlier ones, folded; nothing where the method has none."""
    found = pictures.thinned(html.pictures(run.path / "samples", pictures.TRIPTYCHS))
    if not found:
        return ""
    *earlier, last = [html.picture(path, caption(path)) for path in found]
    more = f"<details><summary>earlier ones: {len(earlier)}</summary>{''.join(earlier)}</details>" if earlier else ""
    return f'<p class="read">{READ}</p>\n{last}\n{more}'


def caption(path: Path) -> str:
    """What is on the sheet."""
    rows = "the student's images, with noise, as the teacher and as the fake score see them, and the difference"
    return f"{formats.kimg(pictures.nimg_of(path))} kimg: {rows}"
