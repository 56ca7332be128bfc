"""Imports every component in a process of its own, which a plugin may crash, leave, hang or print from without harm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import attrs
from attrs import frozen

from distillkit.registry.errors import Unusable
from distillkit.registry.offer import Offer

PATIENCE = 60.0  # seconds for one import; torch may come from a slow disk
POLL_SECONDS = 0.02


@frozen
class Imported:
    """What became of an offer."""

    offer: Offer
    why: str = ""  # it cannot be used; "": it can
    trace: str = ""  # of the error
    tried: bool = True  # False: another offer of its distribution ended the process


def imported(offers: Sequence[Offer]) -> Iterator[Imported]:
    """Import all; of a distribution that ends the process, or does not come back, the others are not tried."""
    left = list(offers)
    while left:
        told = _told(left)
        done = 0
        while True:
            try:
                why, trace = next(told)
            except StopIteration as stop:
                end = stop.value
                break
            yield Imported(left[done], why, trace)
            done += 1
        if done == len(left):
            return
        culprit, *rest = left[done:]
        name = f"{culprit.kind} {culprit.name!r} of {culprit.dist} {culprit.version}"
        yield Imported(culprit, f"{name}: importing it {end}")
        same = [offer for offer in rest if offer.dist == culprit.dist]
        yield from (Imported(offer, f"not tried, for importing {name} {end}", tried=False) for offer in same)
        left = [offer for offer in rest if offer.dist != culprit.dist]


def broken(offers: Sequence[Offer]) -> Iterator[tuple[Offer, str]]:
    """The offers that cannot be used, with the reason. One that ends the process stands for its distribution."""
    return ((each.offer, each.why) for each in imported(offers) if each.why and each.tried)


def _told(offers: Sequence[Offer]) -> Generator[tuple[str, str], None, str]:
    """What became of each offer that was tried to the end, when it is known -> how the process ended."""
    with tempfile.TemporaryDirectory(prefix="distillkit-plugins-") as folder:
        asked, told = Path(folder, "asked"), Path(folder, "told")
        asked.write_text(json.dumps([attrs.asdict(offer) for offer in offers]), encoding="utf-8")
        told.touch()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "distillkit.registry.apart", str(asked), str(told)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            since, done = time.monotonic(), 0
            while done < len(offers):
                code = process.poll()  # before the file is read: what was written last is there then
                whole = told.read_text(encoding="utf-8").split("\n")[done:-1]
                for line in whole:
                    why, trace = json.loads(line)
                    yield why, trace
                    since, done = time.monotonic(), done + 1
                if code is not None and not whole:
                    return _end(code)
                if time.monotonic() - since > PATIENCE:
                    return f"takes longer than {PATIENCE:g} s"
                time.sleep(POLL_SECONDS)
            return ""
        finally:  # a thread or a handler of a plugin may keep it from leaving
            process.kill()
            process.wait()


def _end(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
        return f"ends the process by {name}"
    return f"ends the process with exit code {code}"


def main() -> None:
    """The other process: one line of JSON for each offer, written when it is known."""
    told = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
    for facts in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        why = trace = ""
        try:
            Offer(**{**facts, "roots": tuple(facts["roots"])}).load()
        except Unusable as error:
            why, trace = " ".join(str(error).split()), "".join(traceback.format_exception(error))
        os.write(told, f"{json.dumps([why, trace])}\n".encode())


if __name__ == "__main__":
    main()
