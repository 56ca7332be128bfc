"""The engine's own keys in the tables of components: authors of plugins never write one."""

from __future__ import annotations

from collections import defaultdict

from attrs import field, frozen
from attrs.validators import ge, gt, optional

from distillkit.api.choice import Choice
from distillkit.api.kinds import Guidance
from distillkit.api.validators import AutoOrNumber


@frozen(kw_only=True)
class NoSlot:
    """Of the kinds whose tables are their components' alone."""


@frozen(kw_only=True)
class TeacherSlot:
    """[teacher_score]: where it comes from, and what guides it."""

    from_: str | None = None  # `from = "teacher.toml"`: use the result of that recipe
    guidance: Choice[Guidance] | None = None


@frozen(kw_only=True)
class AuxiliarySlot:
    """[[auxiliary_loss]]: how much of the term, and when."""

    weight: float | str = field(default="auto", validator=AutoOrNumber())  # "auto": by ratio
    ratio: float = field(default=0.5, validator=gt(0))
    every: int = field(default=1, validator=ge(1))  # iterations
    start_kimg: float = field(default=0.0, validator=ge(0))
    stop_kimg: float | None = field(default=None, validator=optional(gt(0)))


@frozen(kw_only=True)
class EvaluateSlot:
    """[[evaluate]]: when to measure."""

    every_kimg: float | None = field(default=None, validator=optional(gt(0)))  # None: at the end only


SLOTS: dict[str, type] = defaultdict(
    lambda: NoSlot, teacher_score=TeacherSlot, auxiliary_loss=AuxiliarySlot, evaluate=EvaluateSlot
)  # by kind
