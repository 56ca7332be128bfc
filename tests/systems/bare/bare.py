"""A plugin of pytest: the parts of distillkit that ask which system this is are told that it is Windows."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    from distillkit.disk import system
    from distillkit.run import leash

    assert not system.NOFOLLOW and not hasattr(__import__("signal"), "SIGHUP")
    monkeypatch.setattr(system, "FOLDERS", False)
    monkeypatch.setattr(system, "READERS", True)
    monkeypatch.setattr(leash, "BY_INPUT", True)
