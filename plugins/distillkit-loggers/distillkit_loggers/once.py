"""What a service was told of a run already, and how to say that its package is missing."""

from __future__ import annotations

import json
import os
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


class Told:
    """Counts of images that a service was told of, for one that takes nothing back.

    A run that was killed goes on from its checkpoint and tells what came after it a second time, the same numbers.
    """

    def __init__(self, folder: Path) -> None:
        """`folder`: the logger's own, in which the counts are kept."""
        self.path = folder / "told.json"
        self.counts: dict[str, int] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def first(self, what: str, nimg: float) -> bool:
        """Whether `what` was not told yet of so many images; it is from here on."""
        if nimg <= self.counts.get(what, -1):
            return False
        self._keep(**{what: int(nimg)})
        return True

    def count(self, what: str) -> int:
        """0, and one more each time, over all sessions of the run."""
        self._keep(**{what: self.counts.get(what, -1) + 1})
        return self.counts[what]

    def _keep(self, **counts: int) -> None:
        self.counts |= counts
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.counts))
        os.replace(partial, self.path)
