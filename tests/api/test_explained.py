"""What a system and torch say of files and memory is no bug: one line, the file's name, the right code."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from distillkit.api import DistillkitError
from distillkit.api.explained import explained

CASES = {
    "a full disk": (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x"), 5, "disk full: No space left on device: x"),
    "a quota": (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "x"), 5, "Disk quota exceeded: x"),
    "a failing disk": (OSError(errno.EIO, os.strerror(errno.EIO), "log.txt"), 5, "Input/output error: log.txt"),
    "a locked disk": (OSError(errno.EROFS, os.strerror(errno.EROFS), "log.txt"), 5, "Read-only file system: log.txt"),
    "too many files": (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "x"), 5, "Too many open files: x"),
    "a long name": (OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "a" * 8000), 2, "(8000 characters)"),
    "no permission": (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "x"), 2, "x: Permission denied"),
    "Python's memory": (MemoryError(), 5, "out of memory"),
    "torch's memory": (torch.OutOfMemoryError("CUDA out of memory. Tried"), 5, "out of memory: CUDA out of memory"),
    "a CPU's memory": (RuntimeError("[enforce] DefaultCPUAllocator: you tried to allocate 9 bytes"), 5, "you tried to"),
    "oneDNN's memory": (RuntimeError("could not create a primitive"), 5, "out of memory: could not create a primitive"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_one_line_with_the_right_code(name: str) -> None:
    error, code, words = CASES[name]
    found = explained(error)
    assert found is not None
    assert (found.exit_code, "\n" in str(found), words in str(found)) == (code, False, True), str(found)
    assert len(str(found)) < 300


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), KeyError("x"), OSError("no number"), ValueError("x")])
def test_what_may_be_a_bug_stays_one(error: Exception) -> None:
    assert explained(error) is None


def test_our_own_errors_are_themselves() -> None:
    error = DistillkitError("x")
    assert explained(error) is error
