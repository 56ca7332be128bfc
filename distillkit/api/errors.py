"""Errors that reach a user: one line each, and the exit code that goes with it."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from distillkit.api.printable import printable

SHOWN = 20  # faults of one kind that are listed
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)  # disk, file size limit, quota: a ResourceError


class DistillkitError(Exception):
    """Anything we can explain to a user without a traceback."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())  # it may quote a stranger's file


class UsageError(DistillkitError):
    """The command line, a recipe or a plugin is wrong."""

    exit_code = 2


class PluginError(UsageError):
    """A plugin is broken: the message names its distribution and the way out."""


class InputError(DistillkitError):
    """Data, a checkpoint or a hash was refused."""

    exit_code = 3

    @classmethod
    def listing(cls, faults: Sequence[str]) -> InputError:
        """One error of all that is wrong, a line each, so that a person need not find them one at a time."""
        if len(faults) == 1:
            return cls(faults[0])
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        lines = "\n".join(f"  {line}" for line in [*faults[:SHOWN], *more])
        return cls(f"error: {len(faults)} things cannot be read or used:\n{lines}")


class Diverged(DistillkitError):
    """Training produced non-finite numbers too many times in a row."""

    exit_code = 4


class ResourceError(DistillkitError):
    """Disk or memory ran out."""

    exit_code = 5


class Lost(DistillkitError):
    """Another process of this run, or the way to it, is gone: the same command goes on."""

    exit_code = 6


class Preempted(DistillkitError):
    """A signal asked us to stop; a checkpoint was saved first."""

    exit_code = 75
