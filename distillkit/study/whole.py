"""A study from its first run to its page: what the command and the function share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from distillkit.api import UsageError
from distillkit.registry import Catalog
from distillkit.study.jobs import jobs
from distillkit.study.plan import Study
from distillkit.study.queue import Queue
from distillkit.study.results import Results, write_results
from distillkit.study.work import DONE, Progress, look, took, work

Show = Callable[[Sequence[Progress]], None]
Screen = Callable[[Sequence[Progress]], AbstractContextManager[Show]]  # is given the plan


def whole(
    study: Study, runs: Path, out: Path | None, screen: Screen,
    *, at_once: int = 1, queue: Queue | None = None, start: bool = True, collapsed: bool = False,
) -> tuple[list[Progress], Results]:  # fmt: skip
    """Run what is missing and compare all; `screen` is given the plan, `start` = False: nothing is run.

    Raises RecipeProblems, UsageError for a study that is wrong, Preempted after a signal, when all runs have saved.
    """
    todo = jobs(study, Catalog.installed(), collapsed, runs)
    made = folder(study, runs, out)
    done = look(todo, runs, made / "logs")
    if start:
        with screen(done) as show:
            done = work(todo, runs, made / "logs", at_once, show, queue)
    return done, write_results(study, done, runs, made, note(done, at_once))


def folder(study: Study, runs: Path, out: Path | None) -> Path:
    """Make the folder of what a study writes."""
    made = out or runs / f"study-{study.name}"
    try:
        made.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {made}: {error.strerror}; --out names another folder") from error
    return made


def note(done: Sequence[Progress], at_once: int) -> str:
    """Say what a reader must know of how the numbers came about."""
    cells = [one for one in done if one.job.cell]
    finished = sum(one.state in DONE for one in cells)
    parts = [f"{at_once} runs at once"] if at_once > 1 else []
    return ", ".join(parts + ([f"{finished} of {len(cells)} runs finished"] if finished < len(cells) else []))


def planned(all_: Sequence[Progress]) -> tuple[list[dict[str, str]], str]:
    """All runs before the first starts, as rows: what is there already, what each of the others takes; and a sum."""
    done = {"reused": "reuse", "waiting": ""}
    rows = [
        {
            "run": one.job.name, "method": one.job.node.recipe.generator_loss.name,
            "to do": done.get(one.state, one.state) or f"{one.job.node.recipe.run.kimg:g} kimg",
        }
        for one in all_
    ]  # fmt: skip
    runs = "1 run" if len(all_) == 1 else f"{len(all_)} runs"
    return rows, f"{runs}, {sum(one.job.cell is not None for one in all_)} of them compared"


def problems(done: Sequence[Progress]) -> tuple[list[str], list[str]]:
    """Warnings of runs that are taken as they are, and errors of those that are not there, a line each."""
    odd = [f"{one.job.name} is taken as it is, it {one.reason}" for one in done if one.reason and not one.bad]
    return odd, [f"{one.job.name} {one.state}: {one.reason}; log: {one.log}" for one in done if one.bad]


class Lines:
    """One line when a run starts or ends."""

    def __init__(self, line: Callable[[str], None]) -> None:
        self.line, self.told = line, dict[str, str]()

    def __call__(self, all_: Sequence[Progress]) -> None:
        for one in all_:
            if self.told.get(one.job.fingerprint, "waiting") != one.state:
                self.told[one.job.fingerprint] = one.state
                after = f" after {took(one)}" if one.seconds else ""
                self.line(f"{one.state:9} {one.job.name}{after}")
