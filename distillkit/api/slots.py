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

    from_: str | None = None  # use the result of that recipe, such as "teacher.toml", which runs first if it must
    guidance: Choice[Guidance] | None = None  # guides the teacher, such as by its class labels


@frozen(kw_only=True)
class AuxiliarySlot:
    """[[auxiliary_loss]]: how much of the term, and when."""

    weight: float | str = field(default="auto", validator=AutoOrNumber())
    """factor of the loss; "auto": such that its gradient at the images is `ratio` times the method's"""
    ratio: float = field(default=0.5, validator=gt(0))
    """with weight = "auto": norm of its gradient, as a share of the method's"""
    every: int = field(default=1, validator=ge(1))  # iterations between its terms
    start_kimg: float = field(default=0.0, validator=ge(0))  # images before its first term
    stop_kimg: float | None = field(default=None, validator=optional(gt(0)))  # images after which it ends; unset: never


@frozen(kw_only=True)
class EvaluateSlot:
    """[[evaluate]]: when to measure."""

    every_kimg: float | None = field(default=None, validator=optional(gt(0)))
    """images between evaluations; unset: at the end alone"""


SLOTS: dict[str, type] = defaultdict(
    lambda: NoSlot, teacher_score=TeacherSlot, auxiliary_loss=AuxiliarySlot, evaluate=EvaluateSlot
)  # by kind
