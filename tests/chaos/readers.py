"""All that reads a run: each is a command and the numbers that it gives, to be compared with those of a sound run."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import distillkit
from distillkit.api import DistillkitError
from tests.chaos.base import CHILD, CUT, STUDENT, TEACHER, WHOLE, Said, command

CLOCK = ("seconds", "img_per_sec", "row", "check")
Answer = tuple[Said, Any]  # what was said, and the numbers


def trained(*argv: str, rows: bool = False) -> Answer:
    """`distillkit run`: the panel's numbers, the student's bits and, with `rows`, all that was measured on the way."""
    said = command("run", *argv)
    found = re.search(r"^run +(\S+)", said.out, re.MULTILINE)
    if said.code or not found:
        return said, None
    run = Path(found[1])
    bits = hashlib.sha256((run / "result" / "student.safetensors").read_bytes()).hexdigest()
    return said, [*panel(said), bits, *(measured(run) if rows else ())]


def panel(said: Said) -> list[str]:
    """The lines of metrics."""
    return re.findall(r"^(\w+/\w+ .*)", said.out, re.MULTILINE)


def measured(run: Path) -> list[Any]:
    """The rows of metrics.jsonl without what a clock says."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [[value for key, value in row.items() if key not in CLOCK] for row in rows]


def sample(run: str) -> Answer:
    said = command("sample", run, "-n", "3", "--out", "sample.npz", "--force")
    return said, None if said.code else _images(Path("sample.npz"))


def _images(path: Path) -> str:
    with np.load(path) as arrays:
        return hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays.files))).hexdigest()


def export(run: str) -> Answer:
    said = command("export", run, "--to", "safetensors", "exported")
    return said, None if said.code else _digest(Path("exported/student.safetensors"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(run: str) -> Answer:
    """`distillkit.load`, whose errors and warnings are Python's."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        try:
            numbers = hashlib.sha256(distillkit.load(run)(3).numpy().tobytes()).hexdigest()
        except DistillkitError as error:
            return Said(error.exit_code, "", str(error)), None
    return Said(0, "", "".join(f"warning: {warning.message}\n" for warning in told)), numbers


def evaluate(run: str) -> Answer:
    said = command("eval", run)
    if said.code:
        return said, None
    told = json.loads(Path(re.search(r"^measured +(\S+)", said.out, re.MULTILINE)[1]).read_text(encoding="utf-8"))
    return said, [*panel(said), told["metrics"], told["protocol"]]


def compare(*runs: str) -> Answer:
    said = command("compare", *runs, "--out", "compare.html")
    return said, None if said.code else [said.out, _page(Path("compare.html"))]


def report(run: str) -> Answer:
    said = command("report", run)
    return said, None if said.code else _page(Path(run, "report.html"))


def _page(path: Path) -> str:
    """A page without its pictures, and without whether the run has come to its end: a kill may have left it so.

    Nor with its verdict and the commands that come next, which say no number that the page does not have elsewhere.
    """
    text = re.sub(r'"data:[^"]*"', '""', path.read_text(encoding="utf-8"))
    text = re.sub(r'(?s)<nav.*?</nav>|<p class="verdict.*?(?=<section)|<section id="what-next">.*?</section>', "", text)
    return text.replace('<span class="done">finished</span>', "not finished")


READ: Mapping[str, tuple[tuple[str, Callable[[], Answer]], ...]] = {  # by the folder that was damaged
    f"{WHOLE}/{TEACHER}": (
        ("sample", lambda: sample(f"{WHOLE}/{TEACHER}")),
        ("load", lambda: load(f"{WHOLE}/{TEACHER}")),
        ("eval", lambda: evaluate(f"{WHOLE}/{STUDENT}")),
        ("compare", lambda: compare(f"{WHOLE}/{TEACHER}", f"{WHOLE}/{STUDENT}")),
        ("report", lambda: report(f"{WHOLE}/{TEACHER}")),
    ),
    f"{WHOLE}/{STUDENT}": (
        ("sample", lambda: sample(f"{WHOLE}/{STUDENT}")),
        ("export", lambda: export(f"{WHOLE}/{STUDENT}")),
        ("load", lambda: load(f"{WHOLE}/{STUDENT}")),
        ("eval", lambda: evaluate(f"{WHOLE}/{STUDENT}")),
        ("compare", lambda: compare(f"{WHOLE}/{TEACHER}", f"{WHOLE}/{STUDENT}")),
        ("report", lambda: report(f"{WHOLE}/{STUDENT}")),
    ),
    f"{CUT}/{TEACHER}": (("eval", lambda: evaluate(f"{CUT}/{TEACHER}")),),
    f"{CUT}/{STUDENT}": (
        ("compare", lambda: compare(f"{CUT}/{TEACHER}", f"{CUT}/{STUDENT}")),
        ("report", lambda: report(f"{CUT}/{STUDENT}")),
    ),
    "home": (("eval", lambda: evaluate(f"{WHOLE}/{STUDENT}")),),
}  # fmt: skip
REUSE = ("reuse", lambda: trained("student.toml", "--runs", WHOLE))
PARENT = ("from", lambda: trained("child.toml", "--runs", WHOLE, rows=True))
RESUME = ("resume", lambda: trained("student.toml", "--runs", CUT, rows=True))
NAMED = ("--resume", lambda: trained("--resume", f"{CUT}/{STUDENT}", rows=True))
TRAIN: Mapping[str, tuple[tuple[str, Callable[[], Answer]], ...]] = {  # these write; each gets a copy
    f"{WHOLE}/{TEACHER}": (REUSE, PARENT),
    f"{WHOLE}/{STUDENT}": (REUSE,),
    f"{CUT}/{TEACHER}": (RESUME, NAMED),
    f"{CUT}/{STUDENT}": (RESUME, NAMED),
    "home": (PARENT, RESUME),
}
GONE = f"{WHOLE}/{CHILD}"  # is trained anew by PARENT
