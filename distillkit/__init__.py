"""distillkit: turn a diffusion model into a one-step generator."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distillkit.api.errors import DistillkitError
    from distillkit.networks.loaded import Student, load
    from distillkit.python.calls import check, compare, evaluate, plan, run
    from distillkit.python.result import Result
    from distillkit.python.studied import StudyResult, study

__version__ = "0.1.0"
NUMERICS = 2  # raised where a run's bits change on purpose; in every fingerprint
__all__ = [
    "DistillkitError", "Result", "Student", "StudyResult", "__version__",
    "check", "compare", "evaluate", "load", "plan", "run", "study",
]  # fmt: skip
# Where each is: with torch, or long to import, so only when it is asked for.
_LATER = {
    "DistillkitError": "distillkit.api.errors", "Result": "distillkit.python.result",
    "Student": "distillkit.networks.loaded", "StudyResult": "distillkit.python.studied",
    "check": "distillkit.python.calls", "load": "distillkit.networks.loaded",
}  # fmt: skip
_COMMANDS = ("run", "plan", "compare", "evaluate", "study")  # packages that can be called, see calling.py


def __getattr__(name: str) -> Any:
    if name in _COMMANDS:
        return import_module(f"distillkit.{name}")
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'distillkit' has no attribute {name!r}")
