"""What tests of the core and of plugins share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from distillkit.registry import catalog, scan


@pytest.fixture(scope="session", autouse=True)
def one_look_at_what_is_installed() -> Iterator[None]:
    """Looking for plugins, once for each sys.path and state of its folders: in a process of its own it is done once."""
    looked: dict[Any, Any] = {}

    def known() -> Any:
        paths = tuple((path, os.stat(path).st_mtime_ns if os.path.exists(path) else 0) for path in sys.path)
        key = paths, os.environ.get("DISTILLKIT_DISABLE"), scan.distributions
        if key not in looked:
            looked[key] = scan.scan()
        offers, issues = looked[key]
        return [*offers], [*issues]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "scan", known)
        yield
