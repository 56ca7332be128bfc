"""Who else is told of a run as it goes: services and files that draw curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from distillkit.api.component import Component


@frozen(kw_only=True)
class RunInfo:
    """What a logger is told of the run when it starts or goes on."""

    id: str  # of the run, letters and digits: the same whenever it goes on, and no other's
    name: str  # of the recipe
    path: Path  # the run's folder
    folder: Path  # of this logger alone, within the run's; made before it is told
    recipe: Mapping[str, Any]  # every table with every default
    nimg: int  # images seen: more than 0 where the run goes on
    total: int  # images of the whole run
    versions: Mapping[str, str]  # of the distributions in use


class Logger(Component):
    """Is told of ticks, metrics and pictures of a run; [[logger]] tables are no part of a run's fingerprint.

    The first process alone has loggers. One that raises is told once and left out; it never stops a run. What was told
    must be out of the process when `evaluated`, `pictures` or `checkpoint_saved` returns: a run that is killed goes on
    from its checkpoint, and tells what came after it a second time, with the same numbers.
    """

    kind = "logger"

    def run_started(self, info: RunInfo) -> str | None:
        """The run starts, or goes on after `info.nimg` images -> a line on where it can be seen, which is shown."""

    def tick(self, numbers: Mapping[str, float]) -> None:
        """Means since the last tick by name, such as "loss/generator", with "nimg", "kimg", "seconds", "lr/..."."""

    def evaluated(self, numbers: Mapping[str, float], facts: Mapping[str, Mapping[str, str]]) -> None:
        """Metrics by "<component>/<name>", with "nimg", "kimg", "seconds"; `facts`: by component, its protocol."""

    def pictures(self, path: Path, caption: str, nimg: int) -> None:
        """A picture was written to `path`, after `nimg` images."""

    def checkpoint_saved(self, path: Path) -> None:
        """A checkpoint was written to the folder `path`: the run can go on from here."""

    def run_ended(self, outcome: Mapping[str, Any]) -> None:
        """The process is about to leave the run: its exit "code", the "reason" in words, the final "metrics".

        Code 75: it was preempted and will go on; 0: it is finished.
        """
