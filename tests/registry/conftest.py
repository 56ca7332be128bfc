"""Fake distributions in a folder of their own, which is all that the registry can find."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """`install("distillkit-x", {"kernel": {"rbf": "module:Class"}}, source="...")` writes metadata and a module."""
    before = set(sys.modules)
    outside = [p for p in sys.path if not any(Path(p or ".").glob("distillkit*.dist-info"))]
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *outside])
    monkeypatch.delenv("DISTILLKIT_DISABLE", raising=False)

    def write(
        name: str,
        offers: dict[str, dict[str, str]] | str,
        source: str = "",
        needs: str = "",
        version: str = "1.0",
        site: str = "site",
    ) -> Path:
        folder = tmp_path / site
        module = name.replace("-", "_")
        info = folder / f"{module}-{version}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        requires = f"Requires-Dist: {needs}\n" if needs else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        (info / "entry_points.txt").write_text(offers if isinstance(offers, str) else _entry_points(offers))
        if source:
            (folder / f"{module}.py").write_text(source)
        importlib.invalidate_caches()
        return info

    yield write
    for fresh in set(sys.modules) - before:
        if fresh.startswith("distillkit_"):
            del sys.modules[fresh]


def _entry_points(offers: dict[str, dict[str, str]]) -> str:
    return "".join(
        f"[distillkit.{kind}]\n" + "".join(f"{name} = {target}\n" for name, target in names.items())
        for kind, names in offers.items()
    )
