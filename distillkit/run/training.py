"""A run in progress: iterations, and at ticks lines, metrics, pictures and checkpoints."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from distillkit import guard
from distillkit.api import Diverged, Lost, Preempted, ResourceError
from distillkit.api.explained import explained
from distillkit.api.printable import printable
from distillkit.disk import checkpoint, results
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.results import Scores
from distillkit.disk.rundir import RunDir
from distillkit.evaluate import evaluation
from distillkit.evaluate.best import Keeper
from distillkit.evaluate.draw import Drawer
from distillkit.guard import Watch
from distillkit.run import pieces, postmortem, sheets
from distillkit.run.examine import Examiner
from distillkit.run.loggers import Loggers
from distillkit.run.loop import Loop
from distillkit.run.signals import Stopped, StopRequest
from distillkit.show import formats, report
from distillkit.show.screen import Bar, Screen
from distillkit.show.ticks import Ticks
from distillkit.train import snapshot, turns
from distillkit.train.optim import lr_at
from distillkit.train.ranks.pieces import cut
from distillkit.train.state import Part, State

SHARE = 0.02  # of the time may go into checkpoints that only the clock asks for


class Training(Loop):
    """A run in progress: the state, where it is written, who watches."""

    def __init__(
        self, state: State, run: RunDir, screen: Screen, stop: StopRequest, loggers: Loggers, ticks: Ticks
    ) -> None:
        super().__init__(state, stop)
        self.run, self.screen, self.loggers, self.ticks = run, screen, loggers, ticks
        self.log = MetricsLog(run.metrics)
        self.tick_from = (0, 0.0)  # images and seconds at the last tick
        self.saved: Path | None = None  # the newest good checkpoint
        self.keeper = Keeper(state)
        self.watch = Watch(state.recipe.run.guard, state.batch)
        self.examiner = Examiner(state, self.watch, screen, self.failed)
        self.measured: dict[str, float] | None = None  # the final metrics
        self.unwritten: list[dict[str, Any]] = []  # rows for whom the disk had no room
        self.failures: dict[str, str] = {}  # what failed beside the training, the newest time
        self.seconds_saved = 0.0  # of training, when the newest checkpoint was written
        self.saving = 0.0  # seconds spent on that in this session

    def resume(self) -> bool:
        """Go back to the newest good checkpoint, and cut the log there -> whether there was one."""
        shared = self.ranks.shards > 1  # then each rank reads its own rows, and here the files are checked
        where = "meta" if shared else self.state.device
        found = checkpoint.load_newest(self.run.checkpoints, where, self.run.fingerprint)
        if found is None:
            self.log.truncate(-1)
            return False
        tensors, meta, self.saved = found
        if shared:
            pieces.restored(self.state, self.saved)
        else:
            snapshot.restore(self.state, tensors, meta)
        if (before := meta.get("device", self.device)) != self.device:
            self.screen.warn(
                f"it was trained on {before} and goes on on {self.device}: other noise, so not the bits of one run"
                f' in one place; with run.device = "{before}" it would have them'
            )
        torch.set_num_threads(meta["threads"])  # another count would add up in another order
        self.seconds = self.seconds_saved = meta["seconds"]
        self.tick_from = tuple(meta["tick_from"])
        self.keeper.restore(meta["best"])
        keep = self.state.recipe.run.keep_checkpoints
        checkpoint.prune(self.run.checkpoints, keep, {self.saved.name, *self.keeper.pinned})  # a kill came before that
        self.log.truncate(self.state.nimg)
        self.log.expect(meta.get("logged", 0))
        for row in self.log.read():
            self.watch.see(row)
        return True

    @property
    def device(self) -> str:
        return self.state.device.type

    def progress(self) -> AbstractContextManager[Bar]:
        return self.screen.progress(str(self.run.info["recipe"]), self.state.total, "img")

    def begin(self) -> None:
        """The picture, and the look, that all others are compared with."""
        draw = Drawer.student(self.state)
        self.picture(draw)
        self.glance(draw)
        self.page()

    def page(self) -> None:
        """Write the page as far as the run is; the last one is written after the result."""
        try:
            report.write_report(self.run.path, title=str(self.run.info["recipe"]))
        except Exception as error:
            self.failed("the page", error)
        else:
            self.failures.pop("the page", None)  # this one has all that an earlier one had not

    def check(self) -> None:
        """Wait for the device; raises Diverged if too many updates in a row were not finite."""
        try:
            turns.check(self.state)
        except Diverged as error:
            good = f"the last good checkpoint is {self.saved}" if self.saved else "there is no checkpoint yet"
            raise Diverged(f"{error}; {self.postmortem()}; {good}") from error

    def postmortem(self) -> str:
        """Keep what made the run diverge -> what was seen."""
        if self.ranks.shards > 1:
            return "its networks lie in pieces, and nothing of them was kept"
        try:
            return postmortem.keep(self.state, self.run.path / postmortem.FOLDER)
        except Exception as error:  # it must not take the place of what it explains
            self.failed("the post-mortem", error)
            return self.failures["the post-mortem"]

    def note(self, row: dict[str, Any]) -> None:
        """Add a row to the log; where the disk is full, together with the next one."""
        for sign in self.watch.see(row):
            self.screen.warn(f"collapsed at {formats.kimg(row['nimg'])} kimg: {sign}")
        self.loggers.row(row, evaluation.protocols(self.state) if row["what"] == "evaluate" else {})
        self.unwritten.append(row)
        try:
            while self.unwritten:
                self.log.append(self.unwritten[0])
                self.unwritten.pop(0)
        except ResourceError as error:
            self.screen.warn(f"{error}; the run goes on and tries again")

    @property
    def pinned(self) -> tuple[str, ...]:
        """Checkpoints that stay: of the best average, and of the last healthy one where that may be wanted."""
        watch, best = self.watch, self.keeper.pinned
        wanted = watch.healthy is not None and (bool(watch.signs) or watch.guard.action == "return")
        return (*best, checkpoint.name(watch.healthy)) if wanted and watch.healthy is not None else best

    def overdue(self) -> bool:
        """Whether a kill would lose too many minutes, and saving more often costs no more than its share."""
        since = self.seconds - self.seconds_saved
        return since > 60 * self.state.recipe.run.checkpoint_minutes and self.saving <= SHARE * self.seconds

    def look(self) -> None:
        """Metrics and pictures that are due now and not there yet."""
        state = self.state
        finished = state.nimg >= state.total
        parts, draw = evaluation.due(state, finished), Drawer.student(state)
        if self.log.has("evaluate", state.nimg) and not finished:
            measured = [row for row in self.log.read() if row["what"] == "evaluate"]
            self.keeper.improved(results.of_row(measured[-1]))
        elif parts:
            self.evaluate(parts, draw)
        if self.stage_due(finished):
            self.picture(draw)
            self.glance(draw)
        if not finished:
            self.page()
        if self.watch.collapsed:
            self.act()

    def picture(self, draw: Drawer) -> None:
        sheets.write(self.state, self.run, draw, self.loggers, self.failed)

    def examine(self, draw: Drawer, metrics: dict[str, float]) -> dict[str, Any]:
        """What is to be said of the run's health, for a row of the log; {} where that was said at this point."""
        if self.watch.guard.action == "off" or self.watch.look == self.state.nimg:
            return {}
        try:
            found = self.examiner.look(draw, metrics)
        except Exception as error:
            self.failed("the look at the run's health", error)
            return {}
        return {guard.HEALTH: found} if found else {}

    def glance(self, draw: Drawer) -> None:
        """Log a look of its own, where no metrics were measured."""
        nimg = self.state.nimg
        if found := self.examine(draw, {}):
            self.note({"what": guard.LOOK, "nimg": nimg, "kimg": nimg / 1000, **found})

    def act(self) -> None:
        """Do what run.guard.action says of a run that has collapsed."""
        action, healthy = self.watch.guard.action, self.watch.healthy
        if action == "return" and healthy is not None:
            self.returned = True
        elif action != "warn":
            good = "no look at it was without a sign" if healthy is None else f"it was well at {healthy / 1000:g} kimg"
            raise Diverged(f"collapsed: {'; '.join(map(str, self.watch.collapsed))}; stopped by run.guard, {good}")

    def failed(self, what: str, error: Exception) -> None:
        """Tell of a metric or picture that failed: it decides nothing about the run. Raises it where a rank is lost."""
        if isinstance(error, Lost):
            raise error
        with open(self.run.log, "a", encoding="utf-8") as log:
            log.write(printable("".join(traceback.format_exception(error))))
        told = explained(error) or f"{type(error).__name__}: {error}"
        text = str(told).partition("\n")[0][:200]
        self.failures[what] = f"{what} failed: {text}"
        self.screen.warn(f"{self.failures[what]}; the run goes on without it")

    def leisurely(self, work: Callable[[], None]) -> None:
        """Do work that a signal may end at any point, since the newest checkpoint has all that was trained."""
        try:
            # A signal that came before is told to the others too: they listen already.
            with self.ranks.leading() as end, self.stop.at_once():
                work()
                end["returned"] = self.returned
        except Stopped as stopped:
            raise self.preempted(str(stopped)) from None

    def preempted(self, signal: str) -> Preempted:
        kimg = self.state.nimg / 1000
        return Preempted(
            f"{signal}: saved at {kimg:g} kimg; go on with: distillkit run --resume {self.run.path}"
            if self.saved
            else f"{signal}: at {kimg:g} kimg, nothing was trained yet"
        )

    def tick(self) -> None:
        """Log and show means since the last tick."""
        self.check()
        state = self.state
        self.ranks.collect(state.records)
        means = state.records.means()
        state.records.clear()
        nimg, seconds = self.tick_from
        speed = (state.nimg - nimg) / max(self.seconds - seconds, 1e-9)
        self.tick_from = (state.nimg, self.seconds)
        rates = {f"lr/{name}": lr_at(s, state.nimg, state.total) for name, s in state.settings.items()}
        row = {"what": "tick", "nimg": state.nimg, "kimg": state.nimg / 1000, **means, **rates}
        skips = state.skipped
        row |= {"skipped": skips, "seconds": self.seconds, "img_per_sec": speed}
        self.note(row)
        losses = {name: value for name, value in means.items() if name.startswith(("loss/", "weight/"))}
        self.ticks.tick(state.nimg, speed, self.seconds, losses, skips)

    def evaluate(self, parts: list[Part], draw: Drawer) -> None:
        """Measure, log and show; take note if this is the best so far by run.keep_best."""
        state = self.state
        found = evaluation.evaluate(draw, parts, self.screen, self.failed)
        if state.nimg >= state.total:
            self.measured = found
        if not self.log.has("evaluate", state.nimg):
            self.note({"what": "evaluate", "nimg": state.nimg, "kimg": state.nimg / 1000, **found,
                       "seconds": self.seconds, **self.examine(draw, found)})  # fmt: skip
        if found:
            told, better = evaluation.protocols(state), evaluation.better(state, found)
            self.ticks.evaluated(state.nimg, Scores(student=found, protocol=told, better=better))
        self.keeper.improved(found)

    def save(self, must: bool) -> None:
        """Save a checkpoint; a full disk is a warning now and an error where it must be."""
        self.check()
        self.ranks.collect(self.state.records)
        with self.ranks.leading():
            self.write(must)

    def write(self, must: bool) -> None:
        self.run.check()
        start = time.perf_counter()
        tensors, meta = snapshot.capture(self.state)
        tensors = {key: tensor for key, tensor in tensors.items() if not cut(tensor)}
        meta |= {"seconds": self.seconds, "tick_from": list(self.tick_from), "best": self.keeper.saved()}
        meta |= {checkpoint.RUN: self.run.fingerprint, "logged": self.log.logged}
        keep = self.state.recipe.run.keep_checkpoints
        self.log.sync()
        try:
            self.saved = checkpoint.save(
                self.run.checkpoints, self.state.nimg, tensors, meta, keep, self.pinned,
                partial(pieces.written, self.state) if self.ranks.shards > 1 else None,
            )  # fmt: skip
        except ResourceError as error:
            if must:
                raise
            self.screen.warn(f"{error}; training goes on, the next checkpoint tries again")
        else:
            self.loggers.tell("checkpoint_saved", self.saved)
        self.seconds_saved = self.seconds
        self.saving += time.perf_counter() - start
