"""Verdicts and arms of a claim as sentences for a terminal and as Markdown for a repository."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from distillkit.compare.curves import Spread
from distillkit.compare.matrix import markdown_of
from distillkit.compare.tables import MISSING, Cell, Table, spread
from distillkit.show import formats
from distillkit.study.claim import FINAL, Claim
from distillkit.study.claimed import Claimed
from distillkit.study.judge import Judged


def sentence(one: Judged) -> str:
    """What was measured: "frechet/sfd: better by 0.04, 95 % interval 0.027 to 0.053, 6 seeds"."""
    claim = one.claim
    what = claim.metric if claim.measure == FINAL else f"{claim.metric}, in images to the other's end"
    if one.interval is None:
        return f"{what}: {one.why or 'no seed that both have'}"
    mean, low, high = (gained(claim, g) for g in (one.interval.mean, one.interval.low, one.interval.high))
    told = f"better by {mean}" if claim.measure == FINAL else f"{mean} times as fast"
    if one.seeds == 1:
        return f"{what}: {told} with one seed, which has no interval"
    least = f", {gained(claim, claim.needed)} or more is claimed" if claim.needed else ""
    return f"{what}: {told}, {100 * claim.confidence:g} % interval {low} to {high}, {one.seeds} seeds{least}"


def gained(claim: Claim, g: float) -> str:
    """A gain as people read it: a difference, or how many times as fast."""
    if math.isinf(g):
        return "anything" if g > 0 else "-anything" if claim.measure == FINAL else "0"
    return formats.number(g if claim.measure == FINAL else math.exp(g))


def name(one: Judged) -> str:
    """Which arms: "SiD: EL against none"."""
    return f"{one.arm} against {one.against}"


def summary(found: Claimed) -> str:
    """Seeds, budget, and why no more of them."""
    budget = f" of {found.study.core_hours:g}" if found.study.core_hours else ""
    seeds = f"{len(found.rows)} runs, seeds {', '.join(map(str, found.seeds))}" if found.seeds else "no run yet"
    looks, others = len(found.study.looks), len(found.record.rows) - len(found.rows)
    told = [seeds, f"{formats.number(found.record.core_hours)}{budget} core-hours"]
    if looks > 1:
        told.append(f"intervals are for {looks} looks (Bonferroni)")
    if others:
        told.append(f"{others} more in {found.record.path.name} are of recipes as they were before, and not judged")
    return "; ".join([*told, *([found.stopped] if found.stopped else [])])


def verdicts(found: Claimed) -> Table:
    rows = [[one.claim.says, name(one), sentence(one), one.verdict] for one in found.judged]
    return Table("verdicts", ["claim", "arms", "measured", "verdict"], [[Cell(text) for text in row] for row in rows])


def arms(found: Claimed) -> Table:
    """Mean and standard deviation of every metric that is claimed, of every arm, the losers too."""
    metrics = list(dict.fromkeys(claim.metric for claim in found.study.claim))
    others = [name for row in found.rows for name in row.metrics if name not in metrics]
    metrics += list(dict.fromkeys(others))
    rows = [[Cell(text) for text in _arm(found, cell.label, metrics)] for cell in found.study.cell]
    return Table("arms", ["arm", "seeds", "kimg", *metrics], rows)


def _arm(found: Claimed, label: str, metrics: Sequence[str]) -> Iterator[str]:
    rows = [row for row in found.rows if row.cell == label and row.seed in found.seeds]
    whole = [row for row in rows if row.state == "finished"]
    lost = [f"{row.state} with {row.seed}" for row in rows if row.state != "finished"]
    yield label
    yield ", ".join([str(len(whole)), *lost])
    yield formats.number(whole[0].nimg / 1000) if whole else MISSING
    for metric in metrics:
        values = [row.metrics[metric] for row in whole if metric in row.metrics]
        yield spread(Spread.of(values)) if values else MISSING


def curves(found: Claimed, metric: str) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a metric on the way: images, and the mean over seeds of each arm that was measured then."""
    labels = [cell.label for cell in found.study.cell]
    at: dict[float, dict[str, list[float]]] = {}
    for row in found.rows:
        for point in row.curve(metric):
            at.setdefault(point.kimg, {}).setdefault(row.cell, []).append(point.value.mean)
    rows = [
        [formats.number(kimg), *(spread(Spread.of(arms[label])) if label in arms else MISSING for label in labels)]
        for kimg, arms in sorted(at.items())
    ]
    return [f"{metric}, kimg", *labels], rows


def markdown(found: Claimed) -> str:
    tables = "\n\n".join(markdown_of(table) for table in (verdicts(found), arms(found)))
    return (
        f"# {found.study.name}\n\nWritten by `distillkit study --claim {found.study.path.name}`: {summary(found)}.\n\n"
        f"{tables}\n"
    )
