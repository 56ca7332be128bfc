"""Runs that trials damage or kill: made once, small enough to be copied, run and read many times."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from distillkit.cli.main import main

COMMON = """
schema = 1
[run]
kimg = 0.096
batch = 16
device = "cpu"
threads = 1
grid = 4
checkpoint_kimg = 0.032
tick_kimg = 0.016
keep_checkpoints = 2
[dataset]
use = "digits"
[generator]
optimizer = { lr = 1e-2 }
ema = "power"
[[evaluate]]
use = "fid"
images = 32
every_kimg = 0.032
features = { use = "digits-classifier" }
"""
TAUGHT = """
schema = 1
extends = "common.toml"
teacher_score = { use = "network", from = "teacher.toml" }
generator = { init = "teacher" }
sample = { use = "one-step" }
"""
RECIPES = {
    "common": COMMON,
    "teacher": """
schema = 1
extends = "common.toml"
generator = { init = "scratch", network = { use = "mlp", width = 8, depth = 2 } }
sample = { use = "heun", steps = 3 }
generator_loss = { use = "edm" }
""",
    "student": TAUGHT + 'generator_loss = { use = "sid", alpha = 1.0, lr = 1e-2 }\n',
    "child": TAUGHT
    + """
generator_loss = { use = "dmd" }
auxiliary_loss = [{ use = "regression", pairs = 32, distance = "l2", sampler = { use = "heun", steps = 3 } }]
""",
}  # a teacher of digits, a student of it, and a student of it on pairs that are kept for later runs
KEPT: list[Path] = []  # the folder that others are copied from
WHOLE, OTHER, CUT = "whole", "other", "cut"  # folders of runs: finished, of another seed, in the middle
TEACHER, STUDENT, CHILD = "0001-teacher", "0002-student", "0003-child"


@frozen
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def warned(self) -> bool:
        """Whether a word was said."""
        return "warning: " in self.out + self.err or (self.code != 0 and bool(self.err.strip()))

    @property
    def broken(self) -> str:
        """What no command may say, whatever it is given; "" where that was not said."""
        lines = [line for line in (self.out + self.err).splitlines() if line.startswith(("Traceback", "bug:"))]
        return lines[0] if lines else "" if self.code in (0, 2, 3, 4, 5, 75, 130) else f"exit code {self.code}"


def command(*argv: str) -> Said:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(argv))
        except BaseException:
            traceback.print_exc()
            code = 1
    return Said(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def inside(folder: Path, home: Path) -> Iterator[None]:
    """Work in `folder`, and keep there in `home` what later runs use again."""
    before = os.environ.get("DISTILLKIT_HOME")
    os.environ["DISTILLKIT_HOME"] = str(home)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        os.environ.pop("DISTILLKIT_HOME")
        if before is not None:
            os.environ["DISTILLKIT_HOME"] = before


def make(folder: Path) -> None:
    """Put finished runs into `folder`, and one that was killed; they are run once, then copied."""
    if (folder / "made").exists():
        return
    if not KEPT:
        KEPT.append(Path(tempfile.mkdtemp(prefix="distillkit-chaos-base-")))
        atexit.register(shutil.rmtree, KEPT[0], ignore_errors=True)
        run(KEPT[0])
    shutil.copytree(KEPT[0], folder, dirs_exist_ok=True)
    (folder / "made").touch()


def run(folder: Path) -> None:
    """Run everything once; what a kill in the middle of the student leaves is made of the finished one."""
    for name, text in RECIPES.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    with inside(folder, folder / "home"):
        for argv in (["student.toml", "--runs", WHOLE], ["child.toml", "--runs", WHOLE],
                     ["student.toml", "--runs", OTHER, "--seed", "1", "--teacher-seeds"]):  # fmt: skip
            said = command("run", *argv)
            assert said.code == 0, said
    for path in [*folder.glob("*/*/samples/*.png"), *folder.glob("*/*/report.html")]:
        path.write_bytes(b"")  # nothing reads a number of them, and they are most of what would be copied
    for name in (TEACHER, STUDENT):
        shutil.copytree(folder / WHOLE / name, folder / CUT / name)
    cut(folder / CUT / STUDENT)


def cut(run: Path) -> None:
    """Leave of a finished run what one has that was killed between its last two checkpoints."""
    shutil.rmtree(run / "result")
    (run / "exit.json").unlink()
    left, last = sorted((run / "checkpoints").glob("kimg-*"))
    shutil.rmtree(last)
    logged = json.loads((left / "state.json").read_text(encoding="utf-8"))["logged"]
    rows = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(rows[:logged]))  # of later ones nothing knows that they were there
