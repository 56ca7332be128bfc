"""A recipe of each family, two iterations on the pretended device: from the command to the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from distillkit.cli.main import main
from distillkit.disk import checkpoint
from distillkit.recipe.schema import Run
from distillkit.run import smoke

RECIPES = (
    "imagenet512_xs_sid", "gaussians_sid2a", "gaussians_sid_el",
    "gaussians_dmd_el", "gaussians_dmd2", "gaussians_cd", "gaussians_ect",
    "gaussians_di", "gaussians_gdd",
)  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs_on_the_device(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short, seen = smoke.short, []

    def on_the_device(run: Run, keep_best: bool, group: int) -> Run:
        return attrs.evolve(short(run, keep_best, group), device="cuda")

    monkeypatch.setattr(smoke, "short", on_the_device)
    save = checkpoint.save

    def saved(*args: Any, **keys: Any) -> Path:
        path = save(*args, **keys)
        seen.append(json.loads((path / "state.json").read_text())["device"])
        return path

    monkeypatch.setattr(checkpoint, "save", saved)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["run", recipe, "--smoke"]) == 0
    assert seen and set(seen) == {"cuda"}
