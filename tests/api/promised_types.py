"""What `tox -e types` sees of the promises of distillkit.api: mypy reads this file, and nothing runs it.

Strict mypy refuses an `ignore` where there is nothing to ignore, so the last line holds too.
"""

from __future__ import annotations

from typing import assert_type

from torch import Tensor

from distillkit import api
from distillkit.train.state import State
from distillkit.train.step import Step


def hold(state: State, step: Step) -> tuple[api.State, api.Step]:
    """The engine's classes are what plugins are told they get."""
    return state, step


def see(state: api.State, step: api.Step) -> None:
    """Plugins get types, and a name that is not promised is an error."""
    assert_type(state.add_network("a", "teacher"), api.Denoiser)
    assert_type(step.x, Tensor)
    state.no_such_thing  # type: ignore[attr-defined]  # noqa: B018
