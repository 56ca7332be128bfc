"""`caught(cls, test)`: a class for pytest in which that test of the contract of `cls` must fail."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from distillkit.api import Component
from distillkit.registry import Offer
from distillkit.testing import CONTRACTS, toys


def caught(cls: type[Component], test: str, by: type[BaseException] = AssertionError, **attributes: Any) -> type:
    """The contract with `cls` in it, of which `test` alone is left and expected to fail."""
    contract = CONTRACTS[cls.kind]
    others = {name: None for name in dir(contract) if name.startswith("test_") and name != test}
    offer = Offer(cls.kind, "fault", f"{cls.__module__}:{cls.__name__}", "distillkit-fault", "1.0")

    @pytest.fixture(autouse=True)
    def _installed(self: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        catalog = attrs.evolve(toys.catalog(), offers=(*toys.catalog().offers, offer))
        monkeypatch.setattr(toys, "catalog", lambda: catalog)

    fails = pytest.mark.xfail(strict=True, raises=by, reason="the fault must be found")
    body = {"use": "fault", "_folder_of_faults": _installed, "pytestmark": fails, **others, **attributes}
    return type(f"Test{cls.__name__}", (contract,), body)
