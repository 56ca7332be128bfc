"""study: many runs from one file, or from tables, as a function."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from html import escape
from pathlib import Path
from typing import Any

from attrs import field, frozen

from distillkit.api.errors import UsageError
from distillkit.compare import Comparison, markdown, matrix
from distillkit.python.asked import Asked, file_of, settings
from distillkit.python.result import Result
from distillkit.python.screens import chosen
from distillkit.recipe import shipped
from distillkit.registry import Catalog
from distillkit.show.screen import Screen
from distillkit.study import read
from distillkit.study.whole import Lines, Show, planned, problems, whole
from distillkit.study.work import Progress, found


@frozen(repr=False)
class StudyResult:
    """What became of a study; notebooks show its tables and pictures."""

    name: str
    page: Path  # compare.html
    json: Path  # study.json: all numbers
    rows: list[dict[str, Any]]  # one per cell and seed: its state, metrics and run; pandas.DataFrame takes them
    runs: dict[str, Result] = field(factory=dict)  # those that are finished, by "<label>, seed <n>"
    failed: tuple[str, ...] = ()  # a line each, as the command writes it
    comparison: Comparison = field(kw_only=True)

    @property
    def tables(self) -> dict[str, list[dict[str, str]]]:
        """The tables of the page by their titles, each a list of rows; text, with spreads over seeds."""
        found = matrix.every(self.comparison, self.comparison.metrics)
        return {
            table.title: [dict(zip(table.head, (cell.text for cell in row), strict=True)) for row in table.rows]
            for table in found
        }

    @property
    def markdown(self) -> str:
        """All tables, as GitHub's Markdown."""
        return markdown(self.comparison)

    def __repr__(self) -> str:
        bad = f", {len(self.failed)} failed" if self.failed else ""
        runs = "1 run" if len(self.rows) == 1 else f"{len(self.rows)} runs"
        return f"StudyResult({self.name}: {runs}{bad}; page {self.page})"

    def _repr_html_(self) -> str:
        bad = "".join(f"<li>{escape(line)}</li>" for line in self.failed)
        told = f"<ul>{bad}</ul>" if bad else ""
        return f"<div><b>{escape(self.name)}</b>{told}{self.comparison._repr_html_()}</div>"


def study(
    study: Asked, *, name: str = "study", runs: str | Path = "runs", out: str | Path | None = None, jobs: int = 1,
    run: bool = True, reuse_collapsed: bool = False, quiet: bool = False, screen: Screen | None = None,
) -> StudyResult:  # fmt: skip
    """Run the cells of a study that are not finished, `jobs` at once, and compare all; pages go to `out`.

    `study`: a file, or its tables, where `recipe` and `set` may be tables too: {"seeds": [0], "cell":
    [{"label": "twice", "recipe": "gaussians_sid", "set": {"run.batch": 64}}]}.
    `name`: what a study of tables is called. `run=False`: compare what is finished, and start nothing.
    A cell that fails is told, and one of `failed`; the others are compared. Raises RecipeProblems for a study that is
    wrong, UsageError where nothing can be compared, Preempted after a signal (an interrupted kernel): runs have saved.
    """
    if jobs < 1:
        raise UsageError(f"jobs: at least 1, not {jobs}")
    shown = screen or chosen(quiet)
    with _file_of(study, name) as path:
        read_ = read(path, Catalog.installed())
        done, results = whole(
            read_, Path(runs), None if out is None else Path(out), lambda all_: _lines(shown, all_), at_once=jobs,
            start=run, collapsed=reuse_collapsed,
        )  # fmt: skip
    odd, bad = problems(done)
    if results.comparison is None:
        raise UsageError("\n".join([f"nothing to compare: {results.why_not}", *bad]))
    for line in (*odd, *bad):
        shown.warn(line)
    finished = _finished(done, Path(runs))
    return StudyResult(
        read_.name, results.page, results.json, _rows(done, finished), finished, tuple(bad),
        comparison=results.comparison,
    )  # fmt: skip


@contextmanager
def _lines(screen: Screen, all_: Sequence[Progress]) -> Iterator[Show]:
    rows, sum_ = planned(all_)
    screen.plan(rows)
    screen.line(sum_)
    lines, left = Lines(screen.line), _left(all_)
    with screen.progress("study", left, "runs") as bar:

        def show(now: Sequence[Progress]) -> None:
            nonlocal left
            lines(now)
            if _left(now) < left:
                bar.advance(left - _left(now))
                left = _left(now)

        yield show


def _left(all_: Sequence[Progress]) -> int:
    return sum(one.state in ("waiting", "running") for one in all_)


def _finished(done: Sequence[Progress], runs: Path) -> dict[str, Result]:
    known = found([one.job for one in done], runs)
    cells = [one for one in done if one.job.cell and not one.bad and one.job.fingerprint in known]
    return {one.job.name: Result(known[one.job.fingerprint].path) for one in cells if one.state != "waiting"}


def _rows(done: Sequence[Progress], finished: Mapping[str, Result]) -> list[dict[str, Any]]:
    rows = []
    for one in done:
        if one.job.cell:
            label, seed = one.job.cell
            run = finished.get(one.job.name)
            facts = {"cell": label, "seed": seed, "state": one.state, "run": run and str(run.path)}
            rows.append({**facts, **(run.metrics if run else {})})
    return rows


@contextmanager
def _file_of(asked: Asked, name: str) -> Iterator[Path]:
    """The file of a study; that of tables, and of recipes of tables in it, is gone afterwards."""
    if isinstance(asked, str | Path):
        yield shipped.asked(str(asked))
        return
    if not isinstance(asked, Mapping):
        raise UsageError(f"a study is a path or a dict, not {type(asked).__name__}")
    with ExitStack() as stack:
        tables = _plain({"name": name, **asked})
        if isinstance(cells := tables.get("cell"), list | tuple):
            tables["cell"] = [_cell(cell, stack) for cell in cells]
        if isinstance(axes := tables.get("vary"), Mapping):
            tables["vary"] = {axis: [_cell(one, stack) for one in options] for axis, options in axes.items()}
        yield stack.enter_context(file_of(tables, "study"))


def _cell(cell: Any, stack: ExitStack) -> Any:
    """A cell or option as a file has it: recipes of tables are written, paths are of the working directory."""
    if not isinstance(cell, Mapping):
        return cell
    tables = _plain(cell)
    recipe = cell.get("recipe", "")
    if not (isinstance(recipe, str) and (not recipe or shipped.is_name(recipe))):
        named = re.sub(r"[^A-Za-z0-9_]+", "_", str(cell.get("label", "recipe")))
        tables["recipe"] = str(stack.enter_context(file_of(recipe, named)).absolute())
    return tables


def _plain(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples are lists, and `set` may be what `run` takes: {"run.kimg": 8}."""
    made = {key: list(value) if isinstance(value, tuple) else value for key, value in tables.items()}
    if isinstance(given := made.get("set"), Mapping):
        made["set"] = settings(given)
    return made
