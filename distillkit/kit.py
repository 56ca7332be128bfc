"""`pytest --device NAME`: what the contracts of `distillkit.testing` compute on; a plugin of pytest, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

chosen = {"device": "cpu"}  # of this session of pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    help_ = "what distillkit's contracts compute on, as run.device of a recipe (cpu)"
    parser.getgroup("distillkit").addoption("--device", default="cpu", metavar="NAME", help=help_)


def pytest_configure(config: pytest.Config) -> None:
    chosen["device"] = config.getoption("--device")
