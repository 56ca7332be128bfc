"""Licences that bind a student: of the files its recipe names, and of those behind the results it starts from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import attrs

from distillkit.networks import licences, network_file
from distillkit.recipe import read, with_checkpoint

TEACHER, DATA = "edm-ffhq-64x64-uncond-vp.pkl", "ffhq-64x64.zip"


def test_a_student_is_bound_by_what_it_and_its_parents_are_made_of(tiny: Callable[..., Path], tmp_path: Path) -> None:
    card = {"format": 1, "network": {"use": "mlp"}, "resolution": 1, "channels": 2, "label_dim": 0}
    for name, more in (("old", {}), ("bound", {"licence": {TEACHER: "CC BY-NC-SA 4.0"}})):
        (tmp_path / name).mkdir()
        (tmp_path / name / network_file.WEIGHTS).touch()
        (tmp_path / name / network_file.CARD).write_text(json.dumps({**card, **more}))
    recipe = with_checkpoint(read(tiny()), "generator", f"/elsewhere/{DATA}")
    results = [tmp_path / "old", tmp_path / "bound"]
    assert licences.binding(recipe, results) == {DATA: "unknown", TEACHER: "CC BY-NC-SA 4.0"}
    pulled = with_checkpoint(read(tiny()), "generator", str(tmp_path / "bound"))
    assert licences.binding(pulled, []) == {TEACHER: "CC BY-NC-SA 4.0"}
    assert licences.binding(attrs.evolve(recipe, generator=read(tiny()).generator), []) == {}
