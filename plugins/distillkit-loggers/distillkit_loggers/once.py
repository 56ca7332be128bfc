"""What loggers share: what a service was told already, what pictures are called, that a package is missing."""

from __future__ import annotations

import json
import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from distillkit.api import UsageError


def package(name: str, extra: str) -> Any:
    """The module `name`. Raises UsageError that says what installs it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(f"logger {extra!r}: {error}: pip install 'distillkit-loggers[{extra}]'") from error


def kind_of(path: Path) -> str:
    """What the pictures of a run are called that belong together: kimg-00012.png and kimg-00024.png are "samples"."""
    name, _, kimg = path.stem.partition("-")
    return {"kimg": "samples"}.get(name, name) if kimg.replace(".", "").isdigit() else path.stem


class Told:
    """Counts of images that a service was told of, for one that takes nothing back.

    A run that was killed goes on from its checkpoint and tells what came after it a second time, the same numbers.
    """

    def __init__(self, folder: Path, settles: float = 0.0) -> None:
        """`folder`: the logger's own, in which the counts are kept.

        `settles`: seconds after which what was told survives a kill; what is younger is told again rather than lost.
        """
        self.path, self.settles = folder / "told.json", settles
        self.kept: dict[str, int] = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.counts: dict[str, int] = dict(self.kept)
        self.young: list[tuple[float, str, int]] = []  # when, what, of how many images

    def first(self, what: str, nimg: float) -> bool:
        """Whether `what` was not told yet of so many images; it is from here on."""
        if nimg <= self.counts.get(what, -1):
            return False
        self.counts[what] = int(nimg)
        self.young.append((time.monotonic(), what, int(nimg)))
        self.settle(self.settles)
        return True

    def settle(self, age: float = 0.0) -> None:
        """Keep what was told so many seconds ago, or earlier."""
        old = [told for told in self.young if told[0] <= time.monotonic() - age]
        self.young = self.young[len(old) :]
        if old:
            self._keep({what: nimg for _, what, nimg in old})

    def count(self, what: str) -> int:
        """0, and one more each time, over all sessions of the run."""
        number = int(self.counts.get(what, -1)) + 1
        self.counts[what] = number
        self._keep({what: number})
        return number

    def _keep(self, counts: dict[str, int]) -> None:
        self.kept |= counts
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.kept))
        os.replace(partial, self.path)
