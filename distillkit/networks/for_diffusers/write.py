"""`distillkit export --to diffusers`: the folder that DiffusionPipeline.from_pretrained takes."""

from __future__ import annotations

from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING

from distillkit.api import UsageError
from distillkit.disk import files
from distillkit.networks.for_diffusers.student import Student as Loaded
from distillkit.networks.traced import Generate, save

if TYPE_CHECKING:
    from distillkit.networks.loaded import Student

INDEX = {"_class_name": ["pipeline", "StudentPipeline"], "student": ["student", "Student"]}


def to_diffusers(made: Student, source: Path, folder: Path) -> Generate:
    """model_index.json, pipeline.py, and student/ with its graph; the code of both is ours, to be read before use."""
    if made.card.get("decoder"):
        raise UsageError("--to diffusers cannot hold the decoder of a student of latents; --to safetensors can")
    part = folder / "student"
    part.mkdir()
    for file in (folder / "pipeline.py", part / "student.py"):
        file.write_bytes(resources("distillkit.networks.for_diffusers").joinpath(file.name).read_bytes())
    files.write_json(folder / "model_index.json", INDEX)
    shape = {key: made.card[key] for key in ("channels", "resolution", "label_dim")}
    files.write_json(part / "config.json", {"_class_name": "Student", **shape})
    save(made, part / "student.pt2")
    return Loaded.from_pretrained(str(part))
