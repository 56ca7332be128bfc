"""Imports every component in a process of its own, which a plugin may crash, leave, hang or print from without harm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from distillkit.registry.errors import Unusable
from distillkit.registry.offer import Offer

PATIENCE = 300.0  # seconds for all imports of one process; torch may come from a slow disk


def broken(offers: Sequence[Offer]) -> Iterator[tuple[Offer, str]]:
    """The offers that cannot be used, with the reason. One that ends the process stands for its distribution."""
    left = list(offers)
    while left:
        told, end = _imported(left)
        yield from ((left[i], text) for i, text in told.items() if text)
        if len(told) == len(left):
            return
        culprit = left[len(told)]
        yield culprit, f"{culprit.kind} {culprit.name!r} of {culprit.dist} {culprit.version}: importing it {end}"
        left = [offer for offer in left[len(told) :] if offer.dist != culprit.dist]


def _imported(offers: Sequence[Offer]) -> tuple[dict[int, str], str]:
    """What became of the offers that were tried to the end, by number, and how the process ended."""
    with tempfile.TemporaryDirectory(prefix="distillkit-doctor-") as folder:
        told = Path(folder, "told")
        told.touch()
        given = json.dumps([attrs.asdict(offer) for offer in offers])
        try:
            process = subprocess.run(
                [sys.executable, "-P", "-m", "distillkit.registry.apart", str(told)],
                input=given, text=True, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=PATIENCE,
            )  # fmt: skip
            end = _end(process.returncode)
        except subprocess.TimeoutExpired:
            end = f"takes longer than {PATIENCE:g} s"
        lines = told.read_text(encoding="utf-8", errors="replace").splitlines()
    return dict(enumerate(json.loads(line) for line in lines[: len(offers)])), end


def _end(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
        return f"ends the process by {name}"
    return f"ends the process with exit code {code}"


def main() -> None:
    """The other process: one line of JSON for each offer, written when it is known."""
    told = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
    for facts in json.load(sys.stdin):
        text = ""
        try:
            Offer(**{**facts, "roots": tuple(facts["roots"])}).load()
        except Unusable as error:
            text = " ".join(str(error).split())
        os.write(told, f"{json.dumps(text)}\n".encode())


if __name__ == "__main__":
    main()
