"""The one error of the reader."""

from __future__ import annotations

from distillkit.api import InputError


class UnsafeFile(InputError):
    """A file that is not exactly what the reader knows, and therefore is not read."""
