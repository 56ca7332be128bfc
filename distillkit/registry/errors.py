"""Why a component cannot be had: what is wrong, and the way out."""

from __future__ import annotations

from distillkit.api import PluginError, UsageError


class _Hinted(UsageError):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class NotOffered(_Hinted):
    """No installed distribution offers that name."""


class Unusable(_Hinted, PluginError):
    """A distribution offers that name, but it cannot be used."""
