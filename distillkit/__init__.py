"""distillkit: turn a diffusion model into a one-step generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distillkit.networks.loaded import Student, load

__version__ = "0.1.0"
NUMERICS = 2  # raised where a run's bits change on purpose; in every fingerprint
__all__ = ["Student", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """`load` and `Student` bring torch with them: only when they are asked for."""
    if name in ("load", "Student"):
        from distillkit.networks import loaded

        return getattr(loaded, name)
    raise AttributeError(f"module 'distillkit' has no attribute {name!r}")
