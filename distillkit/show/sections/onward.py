"""What next: commands for this very run, to be copied."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from html import escape
from pathlib import Path

from distillkit.disk import typed
from distillkit.show.saved import Saved, sessions, table

Step = tuple[str, list[str]]  # what it does, and the words of the command


def commands(run: Saved) -> str:
    """A list of what it does and how."""
    lines = [f"<li>{escape(what)} <code>{escape(shlex.join(words))}</code></li>" for what, words in steps(run)]
    return f'<ul class="next">{"".join(lines)}</ul>' if lines else ""


def steps(run: Saved) -> Iterator[Step]:
    """Those that work on a run in this state; paths are as the page was asked for."""
    me, kimg = str(run.path), table(run.recipe, "run").get("kimg")
    if run.status in ("running", "waits"):
        if run.status == "waits" and (run.path / "resolved.toml").is_file():
            yield "Go on from the newest checkpoint:", ["distillkit", "run", "--resume", me]
        yield "Follow it in a browser:", ["distillkit", "watch", me]
    if run.status in ("diverged", "collapsed") and (lower := _lower(run)):
        yield "Try half the learning rate:", [*_again(run), "--set", lower]
    if (run.path / "result/student.safetensors").is_file():
        yield "Draw images:", ["distillkit", "sample", me, "-n", "64", "--out", "samples.png"]
        yield "Give the student away:", ["distillkit", "export", me, "student", "--to", "safetensors"]
        yield "Measure it again:", ["distillkit", "eval", me]
    if (teacher := _teacher(run)) and run.status in ("finished", "collapsed"):
        yield "Put it beside its teacher's run:", ["distillkit", "compare", me, str(teacher)]
    if run.status == "finished" and isinstance(kimg, int | float) and any(run.path.glob("checkpoints/kimg-*")):
        longer = f"run.kimg={2 * kimg:g}"
        yield "Train it on, to twice the length:", ["distillkit", "run", me, "--extend", "--set", longer]


def _again(run: Saved) -> list[str]:
    """The command that began the run, else one that runs its recipe; quoted anew, since others may have written it."""
    for session in reversed(sessions(run)):
        try:
            words = shlex.split(typed.text(session.get("command", "")))
        except ValueError:  # cut off, or edited
            continue
        if words[:2] == ["distillkit", "run"] and not {"--resume", "--extend"} & set(words):
            return words
    return ["distillkit", "run", str(run.path / "resolved.toml")]


def _lower(run: Saved) -> str:
    """The key of half the generator's learning rate; "": its recipe has none."""
    rate = table(table(run.recipe, "generator"), "optimizer").get("lr")
    return f"generator.optimizer.lr={rate / 2:g}" if isinstance(rate, int | float) else ""


def _teacher(run: Saved) -> Path | None:
    """The run of the teacher, where it lies beside this one; its place is as it was when this one began."""
    at = table(table(run.info, "inputs"), "teacher_score.from").get("at")
    path = run.path.parent / Path(typed.text(at)).parent.name if isinstance(at, str) else None
    return path if path is not None and (path / "run.json").is_file() else None
