"""`distillkit export --to diffusers`: the folder that DiffusionPipeline.from_pretrained takes."""

from __future__ import annotations

from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from torch import Tensor

from distillkit.api import UsageError
from distillkit.disk import files
from distillkit.networks.for_diffusers.student import Student as Loaded
from distillkit.networks.traced import Generate, save

if TYPE_CHECKING:
    from distillkit.networks.loaded import Student

INDEX = {"_class_name": ["pipeline", "StudentPipeline"], "student": ["student", "Student"]}


def to_diffusers(made: Student, source: Path, folder: Path, text_encoder: Path | None = None) -> Generate:
    """model_index.json, pipeline.py, student/ with its graph; of words, the text encoder and its tokenizer as well.

    The code is ours, to be read before use. Raises UsageError where the text encoder is not at hand.
    """
    if made.card.get("decoder"):
        raise UsageError("--to diffusers cannot hold the decoder of a student of latents; --to safetensors can")
    asking = made.asking
    words = asking.layout.has_words
    encoder = asking.encoder(text_encoder, "--to diffusers") if words else None
    part = folder / "student"
    part.mkdir()
    for file in (folder / "pipeline.py", part / "student.py"):
        file.write_bytes(resources("distillkit.networks.for_diffusers").joinpath(file.name).read_bytes())
    files.write_json(folder / "model_index.json", INDEX | ({} if encoder is None else encoder.save(folder)))
    shape = {key: made.card[key] for key in ("channels", "resolution", "label_dim")}
    asked = {"layout": attrs.asdict(asking.layout), "guidance": asking.scales or None}
    files.write_json(part / "config.json", {"_class_name": "Student", **shape, **asked})
    save(made, part / "student.pt2", scaled=True)
    loaded = Loaded.from_pretrained(str(part))

    def generate(z: Tensor, labels: Tensor | None = None) -> Tensor:
        x: Tensor = loaded(z, asking.scaled(labels))
        return x

    return generate
