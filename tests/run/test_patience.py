"""How long a rank may be silent: minutes until all is compiled, little after that."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from distillkit.run.loop import Loop
from distillkit.run.signals import StopRequest
from distillkit.testing import toys
from distillkit.train import compiled
from distillkit.train.ranks.alone import Ranks


class Impatient(Ranks):
    hurried = 0

    def hurry(self) -> None:
        self.hurried += 1


class Bar:
    def advance(self, *images: Any, **losses: Any) -> None:
        pass


class Quiet(Loop):
    """Trains, and writes nothing."""

    def progress(self) -> AbstractContextManager[Any]:
        return nullcontext(Bar())

    def leisurely(self, work: Callable[[], None]) -> None:
        pass

    def tick(self) -> dict[str, float]:
        return {}

    def overdue(self) -> bool:
        return False

    def save(self, must: bool) -> None:
        pass

    begin = look = preempted = None


@pytest.mark.parametrize(("compiles", "hurried"), [(False, 10), (True, 0)])
def test_where_networks_are_compiled_nobody_is_hurried(
    compiles: bool, hurried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    ranks = Impatient()
    Quiet(toys.toy_state(ranks, run={"compile": compiles}), StopRequest()).train()
    assert ranks.hurried == hurried
