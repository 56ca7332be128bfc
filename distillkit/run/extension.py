"""A run that goes on to another end, in a folder of its own: `distillkit run RUN --extend --set run.kimg=N`."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from distillkit.api import InputError, PluginError, UsageError
from distillkit.disk import typed
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.rundir import RunDir
from distillkit.guard import LOOK
from distillkit.recipe.ends import depends_on_kimg
from distillkit.run.nodes import Node

if TYPE_CHECKING:
    from distillkit.train.state import State

NOTE = "extends"  # of run.json: run, its fingerprint, images it had seen, and the fingerprint of the longer recipe


def resumed(run: RunDir, node: Node) -> Node:
    """The node of a run that goes on. Raises UsageError where its recipe or the plugins are others now."""
    if plain(run) not in node.known:
        raise UsageError(
            f"{run.path} was made with other plugins or an edited recipe (fingerprint {plain(run)}, "
            f"now {node.fingerprint}); install the versions named in its run.json, or run the recipe anew"
        )
    return evolve(node, fingerprint=run.fingerprint, known_as=str(run.info["recipe"]))


def plain(run: RunDir) -> str:
    """The fingerprint of a run's recipe, which is not the run's where its schedules began for another end."""
    note = run.info.get(NOTE)
    return str(note["recipe"]) if isinstance(note, dict) and "recipe" in note else run.fingerprint


def longer(origin: RunDir, node: Node) -> Node:
    """The node of the longer run. Raises UsageError where it is none, or differs in more than its length.

    With schedules that do not depend on run.kimg it is a run of N from the start, and is found as one.
    """
    from distillkit.disk import checkpoint  # torch comes with it: only when there is work

    kimg = typed.toml(origin.resolved).get("run", {}).get("kimg", 0)
    newest = checkpoint.newest(origin.checkpoints)
    if plain(origin) not in node.at(kimg):
        raise UsageError(
            f"{origin.path} was made with other plugins, an edited recipe or other settings: --extend sets run.kimg, "
            "and with it at most keys that change no bits, such as run.checkpoint_kimg"
        )
    if newest is None or origin.status() == "diverged":
        raise UsageError(f"{origin.path} has no {'checkpoint' if newest is None else 'good end'} to go on from")
    nimg, wanted = checkpoint.nimg(newest), node.recipe.run.kimg
    if wanted == kimg or wanted * 1000 <= nimg:
        raise UsageError(
            f"{origin.path} is a run of {kimg:g} kimg and has seen {nimg / 1000:g}: --set run.kimg=N says how long it "
            "is to be" + ("" if origin.ended else ", --resume goes on to its own end")
        )
    note = {"run": str(origin.path), "fingerprint": origin.fingerprint, "nimg": nimg, "recipe": node.fingerprint}
    identity, spellings = node.fingerprint, node.spellings
    if depends_on_kimg(node.recipe):
        spellings = ()  # a run from the start is another one
        identity = hashlib.sha256(f"{node.fingerprint} {origin.fingerprint} {nimg}".encode()).hexdigest()[:16]
    facts: dict[str, Any] = {key: origin.info[key] for key in ("threads",) if key in origin.info}
    return evolve(
        node, fingerprint=identity, known_as=str(origin.info["recipe"]), given=origin.recipe,
        facts={**facts, NOTE: note}, spellings=spellings, begins=f", from {nimg / 1000:g} of {origin.path}",
    )  # fmt: skip


def check(state: State, run: RunDir) -> None:
    """Raises PluginError where a schedule ends with the run and its Config did not say so."""
    untold = [name for name, settings in state.settings.items() if settings.depends_on_kimg]
    if NOTE in run.info and run.fingerprint == plain(run) and untold:
        raise PluginError(
            f"the schedule of {untold[0]!r} depends on run.kimg, and its Config does not say so: property "
            "depends_on_kimg, see docs/plugins.md; the longer run would pass for one from the start"
        )


def begin(run: RunDir) -> str:
    """Bring what the origin has to a folder that is new -> a line on that; "" where there is nothing to bring.

    Raises InputError where the origin is gone or damaged, InUse while it is in training.
    """
    from distillkit.disk import checkpoint

    note = run.info.get(NOTE)
    if not isinstance(note, dict) or checkpoint.nimg(checkpoint.newest(run.checkpoints) or run.path) >= note["nimg"]:
        return ""
    origin, nimg = _origin(run, note), int(note["nimg"])
    finished = origin.ended
    with nullcontext() if finished else origin.lock():
        _copy_rows(origin, run, nimg, finished)
        for picture in (*origin.samples.glob("kimg-*.png"), *origin.samples.glob("triptych-*.png")):
            if not (run.samples / picture.name).exists():
                shutil.copyfile(picture, run.samples / picture.name)  # no link: a picture may be drawn again
        newest = origin.checkpoints / checkpoint.name(nimg)
        best = checkpoint.read_meta(newest).get("best")
        if best and best["nimg"] != nimg:
            checkpoint.adopt(origin.checkpoints / checkpoint.name(best["nimg"]), run.checkpoints, run.fingerprint)
        checkpoint.adopt(newest, run.checkpoints, run.fingerprint)  # last: where it is, all of it is
    return f"goes on from {origin.path} at {nimg / 1000:g} kimg"


def _origin(run: RunDir, note: dict[str, Any]) -> RunDir:
    """The run as it was named, or beside the longer one where both were moved."""
    named = Path(note["run"])
    for path in (named, run.path.parent / named.name):
        if os.path.lexists(path / "run.json") and (found := RunDir.open(path)).fingerprint == note["fingerprint"]:
            return found
    raise InputError(f"{run.path} begins with {named}, which is gone")


def _copy_rows(origin: RunDir, run: RunDir, nimg: int, finished: bool) -> None:
    """Copy metrics up to the checkpoint; a final evaluation, or look, is none of a longer run."""
    log = MetricsLog(run.metrics)
    log.truncate(-1)
    for row in MetricsLog(origin.metrics).read():
        if row["nimg"] <= nimg and not (finished and row["what"] in ("evaluate", LOOK) and row["nimg"] == nimg):
            log.append(row)
    log.sync()
    log.close()
