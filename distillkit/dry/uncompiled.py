"""Where nothing is compiled torch need not import its compiler, 1 to 2 s, to say of a function that it must not be."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

NAME, MARK = "torch._dynamo", "__dynamo_disable"


class _Standin(ModuleType):
    """Knows `disable` alone, which gives the function back; asked for anything else it makes room for the module."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.asked: list[Callable[..., Any]] = []

    def disable(self, fn: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        self.asked.append(fn)
        return fn

    def graph_break(self) -> None:
        """What optimizers say at each step."""

    def __getattr__(self, name: str) -> Any:
        # The import system's own questions, but for where a module within it is, such as FSDP's `torch._dynamo.config`.
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module(NAME), name)

    def leave(self) -> None:
        """As if it had never been there: torch notes on each function what `disable` gave."""
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        for fn in self.asked:
            vars(fn).pop(MARK, None)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, `torch._dynamo` is not imported for functions that must not be compiled; it is where it already was."""
    if NAME in sys.modules:
        yield
        return
    standin = _Standin()
    sys.modules[NAME] = standin
    try:
        yield
    finally:
        standin.leave()
