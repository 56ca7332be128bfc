"""A catalog of fake components, and a way to read a recipe from text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from distillkit.recipe import Recipe, RecipeProblems, read
from distillkit.registry import Catalog, Offer

FAKES = {
    "dataset": {"points": "Points"},
    "teacher_score": {"edm": "Edm"},
    "network": {"mlp": "Mlp"},
    "sample": {"one-step": "OneStep", "few-step": "FewStep"},
    "generator_loss": {"sid": "Sid"},
    "auxiliary_loss": {"embedding": "EmbeddingLoss"},
    "embedding": {"convnet": "ConvNet", "residual": "ConvNet"},
    "kernel": {"rbf": "Rbf"},
    "evaluate": {"fid": "Fid"},
}
GOOD = """
schema = 1
[run]
kimg = 100
batch = 64
[dataset]
use = "points"
path = "points.npz"
[teacher_score]
use = "edm"
checkpoint = "teacher"
[generator_loss]
use = "sid"
"""


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    offers = [
        Offer(kind, name, f"distillkit_fake_parts:{cls}", f"distillkit-{kind.replace('_', '-')}", "1.0")
        for kind, names in FAKES.items()
        for name, cls in names.items()
    ]
    return Catalog(tuple(offers))


@pytest.fixture
def good() -> str:
    """A recipe without problems."""
    return GOOD


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a recipe file."""

    def write(text: str, name: str = "x.toml") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return path

    return write


@pytest.fixture
def recipe(put: Callable[..., Path], catalog: Catalog) -> Callable[..., Recipe]:
    """Read a recipe from text."""
    return lambda text, sets=(): read(put(text), sets, catalog)


@pytest.fixture
def complaints(put: Callable[..., Path], catalog: Catalog) -> Callable[..., list[str]]:
    """The problems of a recipe text, each as `place key message | hint`."""

    def find(text: str, sets: Sequence[str] = ()) -> list[str]:
        with pytest.raises(RecipeProblems) as caught:
            read(put(text), sets, catalog)
        return [f"{p.place} {p.key} {p.message} | {p.hint}" for p in caught.value.problems]

    return find
