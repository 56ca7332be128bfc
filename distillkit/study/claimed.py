"""A study whose claims were declared: looks, budget, the record beside its file, the verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import evolve, field, frozen

from distillkit.api import UsageError
from distillkit.compare import Run
from distillkit.registry import Catalog
from distillkit.study.jobs import Job, jobs
from distillkit.study.judge import Judged, check, judge
from distillkit.study.plan import Study
from distillkit.study.queue import Queue
from distillkit.study.record import LOST, Record, Row
from distillkit.study.whole import Screen, Show, folder
from distillkit.study.work import DONE, Progress, found, look, work


@frozen
class Claimed:
    """Verdicts at the last look that was reached, what they rest on, and what did not run."""

    study: Study
    judged: list[Judged]
    rows: list[Row]  # of the recipes as they are now
    record: Record
    seeds: tuple[int, ...]  # of that look, as far as there are rows
    stopped: str  # why it ended before the last look; "" where it did not
    failed: list[Progress] = field(factory=list)


def claimed(
    study: Study, runs: Path, out: Path | None, screen: Screen,
    *, at_once: int = 1, queue: Queue | None = None, start: bool = True,
) -> Claimed:  # fmt: skip
    """Run what the record lacks, seed after seed, until all claims are decided at a look, or the budget is used.

    Raises RecipeProblems, UsageError for a study that is wrong or a claim that was changed, Preempted after a signal.
    """
    if not study.claim:
        raise UsageError(f"{study.path} has no [[claim]]: distillkit study {study.path} runs it as it is")
    record, all_ = Record.beside(study), jobs(study, Catalog.installed(), False, runs)
    check(study, {job.cell[0]: job.node.recipe for job in all_ if job.cell})
    if start:
        record.add([])  # what cannot be written is told before anything runs
    logs, failed, stopped = folder(study, runs, out) / "logs", list[Progress](), ""
    for count in study.looks or (len(study.seeds),):
        seeds = study.seeds[:count]
        for seed in seeds:
            todo = missing(all_, seed, record)
            done = look(todo, runs, logs)
            keep(study, record, done, runs)
            if start and any(one.state == "waiting" for one in done):
                if study.core_hours is not None and record.core_hours >= study.core_hours:
                    stopped = f"the {study.core_hours:g} core-hours of its budget are used"
                    break
                with screen(done) as show:
                    done = work(todo, runs, logs, at_once, kept(study, record, runs, show), queue)
                keep(study, record, done, runs)
            failed += [one for one in done if one.bad and one.state not in LOST and one.reason]
        asked = {job.fingerprint: job.cell for job in all_ if job.cell and job.fingerprint in record.rows}
        rows = [evolve(record.rows[one], cell=cell[0], seed=cell[1]) for one, cell in asked.items()]
        judged = judge(study, rows, seeds)
        if any(one.verdict == "waiting" for one in judged) or all(one.decided for one in judged):
            break
    if not stopped and len(seeds) < len(study.seeds) and all(one.decided for one in judged):
        stopped = f"all is decided after {len(seeds)} of {len(study.seeds)} seeds"
    there = {row.seed for row in rows}
    return Claimed(study, judged, rows, record, tuple(seed for seed in seeds if seed in there), stopped, failed)


def missing(all_: Sequence[Job], seed: int, record: Record) -> list[Job]:
    """The runs of a seed that are in no record, and all that they build on."""
    needed = {job.fingerprint for job in all_ if job.cell and job.cell[1] == seed} - record.rows.keys()
    for job in reversed(all_):  # what others build on comes first
        if job.fingerprint in needed:
            needed.update(job.needs)
    return [job for job in all_ if job.fingerprint in needed]


def kept(study: Study, record: Record, runs: Path, show: Show) -> Show:
    """`show`, and each run that has ended is in the record at once: a session may end at any time."""

    def told(all_: Sequence[Progress]) -> None:
        keep(study, record, all_, runs)
        show(all_)

    return told


def keep(study: Study, record: Record, done: Sequence[Progress], runs: Path) -> None:
    """Take new runs into the record: finished ones, and those that diverged or collapsed."""
    new = [one for one in done if one.job.cell and one.state in (*DONE, *LOST)]
    new = [one for one in new if one.job.fingerprint not in record.rows]
    if not new:
        return
    at, metrics = found([one.job for one in done], runs), list(dict.fromkeys(claim.metric for claim in study.claim))
    record.add([
        Row.of(one.job.cell, one.job.fingerprint, Run.read(at[one.job.fingerprint].path), state(one), metrics)
        for one in new
        if one.job.cell and one.job.fingerprint in at
    ])  # fmt: skip


def state(one: Progress) -> str:
    return one.state if one.state in LOST else "finished"
