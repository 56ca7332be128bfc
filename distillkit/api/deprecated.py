"""How something documented goes: its old form works for one release, and says the new one."""

from __future__ import annotations

import warnings


def deprecated(old: str, new: str) -> None:
    """Warn whoever called our caller that `old` is going, and what to write instead."""
    warnings.warn(f"{old} goes with distillkit 0.2: write {new} (docs/migrate.md)", DeprecationWarning, stacklevel=3)
