"""What came out of a run: teacher against student, real images, how it was measured, where the files are, what next."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from distillkit.compare.curves import Spread
from distillkit.disk import alike
from distillkit.disk.results import Outcome, Row, Scores
from distillkit.show import formats, verdict
from distillkit.show.saved import Saved
from distillkit.show.scores import REAL, Heads, score_lines
from distillkit.show.sections.onward import steps

STYLES = {"well": "green", "look": "yellow", "bad": "bold red", "open": ""}  # of verdicts

OF_REAL = f"{REAL} ({formats.FLOORS}): what real images get in place of generated ones"


def outcome(run: Outcome, width: int = 80, *, last: bool = True, measured: Path | None = None) -> RenderableType:
    """What is shown at the end of a run.

    `last`: with its footnotes, and commands that go on from it. `measured`: what it was just measured again into.
    """
    scores, sick = run.scores, run.status == "collapsed"
    time = "reused, nothing was run" if run.reused else f"{formats.duration(scores.seconds)} of training"
    time = time if measured is None else f"measured again, {formats.duration(scores.seconds)}"
    title = Text.assemble("\n", (run.recipe_name, "bold"), ("  collapsed," if sick else "", "bold red"), f"  {time}")
    told = [text for text in (scores.note, *scores.remarks, *scores.left_out()) if text]
    notes = [
        Text(line, "bold red" if text.startswith("collapsed: ") else "yellow")
        for text in told
        for line in _wrapped(text, width)
    ]
    saved = Saved.of(run.run_dir) if measured is None and (run.run_dir / "run.json").is_file() else None
    blocks = [[title, *_verdict(saved, width)], notes, _metrics(scores, width)]
    blocks += [_footnotes(scores, width)] * last
    blocks += [[_named(name, str(path)) for name, path in _files(run.run_dir, measured)]]
    if last and saved:
        blocks += [[_named("" if i else "next", shlex.join(words)) for i, (_, words) in enumerate(steps(saved))]]
    return _blocks(blocks)


def spread(runs: Sequence[Outcome], seeds: Sequence[int], width: int = 80) -> RenderableType:
    """Mean and sample standard deviation of every metric over runs that differ in their seed."""
    tables = [run.scores.rows() for run in runs]
    taught = any(row.teacher is not None for table in tables for row in table)
    apart = _apart([run.scores for run in runs])
    rows = []
    for first in [row for row in tables[0] if alike.component(row.name) not in apart]:
        same = [row for table in tables for row in table if row.name == first.name]
        teacher, student, floor = (
            _mean([getattr(row, of) for row in same]) for of in ("teacher", "student", "floor")
        )  # fmt: skip
        rows.append(Row(first.name, *teacher, *student, *floor))
    heads = Heads(student="student" if taught else "this recipe")
    title = Text(f"\n{runs[0].recipe_name}, {len(runs)} seeds: {', '.join(map(str, seeds))}", "bold")
    notes = [Text(f"{name} is left out: the runs differ in {why}", "yellow") for name, why in apart.items()]
    notes.append(Text("mean \N{PLUS-MINUS SIGN} standard deviation over seeds", "dim"))
    shown = score_lines(rows, runs[0].scores.better, heads, width) if rows else []
    return _blocks([[title], _headed(shown), notes])


def _blocks(blocks: Sequence[Sequence[Text]]) -> Group:
    """Lines with an empty one between blocks; those that are empty are left out."""
    full = [block for block in blocks if block]
    return Group(*(text for i, block in enumerate(full) for text in ([Text()] * (i > 0) + list(block))))


def _apart(scores: Sequence[Scores]) -> dict[str, str]:
    """Name the components that did not measure all runs alike, with the facts that differ."""
    names = dict.fromkeys(alike.component(metric) for each in scores for metric in each.student)
    differ = {name: alike.differing([each.protocol.get(name, {}) for each in scores]) for name in names}
    return {name: ", ".join(keys) for name, keys in differ.items() if keys}


def _metrics(scores: Scores, width: int) -> list[Text]:
    rows = scores.rows()
    if not rows:
        return [Text("no metrics" if scores.note else "no metrics: the recipe has no [[evaluate]]", "dim")]
    ours = "student" if scores.teacher else "this run"
    heads = Heads(f"teacher, NFE {scores.teacher_nfe}", f"{ours}, NFE {scores.nfe}")
    return _headed(score_lines(rows, scores.better, heads, width))


def _headed(lines: Sequence[str]) -> list[Text]:
    return [Text(text, "" if i else "dim") for i, text in enumerate(lines)]


def _footnotes(scores: Scores, width: int) -> list[Text]:
    """How the numbers were measured, by component; hashes are cut, which the run's files have whole."""
    told = [OF_REAL] if any(row.floor is not None for row in scores.rows()) else []
    for name, facts in scores.protocol.items():
        told.append(f"{name}: " + "; ".join(f"{key}: {value}" for key, value in facts.items()))
    return [Text(line, "dim") for text in told for line in _wrapped(text, width)]


def _wrapped(text: str, width: int) -> list[str]:
    """The text in lines, with no path or URL broken."""
    text = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1...", text)
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _files(run_dir: Path, measured: Path | None) -> Iterator[tuple[str, Path]]:
    samples = run_dir / "samples"
    pictures = [*sorted(samples.glob("kimg-*.png")), *samples.glob("comparison.png")]  # the last is shown
    yield "run", run_dir
    yield from (("picture", path) for path in pictures[-1:])
    yield from (("report", path) for path in [run_dir / "report.html"] if path.exists())
    yield from (("measured", path) for path in [measured] if path)


def _verdict(saved: Saved | None, width: int) -> list[Text]:
    """What the run is, in words; of one that collapsed the notes say it."""
    if saved is None or saved.status == "collapsed":
        return []
    found = verdict.judged(saved)
    return [Text(line, STYLES[found.level]) for line in _wrapped(found.text, width)]


def _named(name: str, what: str) -> Text:
    return Text.assemble((f"{name:<9}", "dim"), what)


def _mean(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return None, None
    spread = Spread.of(known)
    return spread.mean, spread.sd if len(set(known)) > 1 else None  # a teacher of all runs has no spread
