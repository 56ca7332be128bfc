"""A finished student in formats of others, each compared with the student before it is kept."""

from __future__ import annotations

import copy
import importlib.util
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from attrs import frozen
from torch import Tensor

from distillkit.api import DistillkitError, UsageError
from distillkit.disk import files
from distillkit.disk.rundir import RunDir
from distillkit.networks import adapter_file, network_file, shipped
from distillkit.networks.for_diffusers.write import to_diffusers
from distillkit.networks.hub_metadata import Home
from distillkit.networks.loaded import Student, load
from distillkit.networks.model_card import Written, known, write_cards
from distillkit.networks.stored import DTYPES, round_weights, write
from distillkit.networks.traced import Generate, graph, quiet, save
from distillkit.seeds import inputs

PASSES = (4, 3)  # images in each pass of the comparison: two sizes, so that a graph of one size is found out
ONNX = ("onnx", "onnxscript", "onnxruntime")


@frozen
class Exported:
    """What was written, and how far it is from the student."""

    size: int  # bytes
    difference: float  # largest, of a pixel in [-1,1]


def export(
    source: Path, to: str, out: Path, dtype: str = "fp32", home: Home | None = None, text_encoder: Path | None = None
) -> Exported:
    """Write the student to a new folder with its cards; `dtype`: how its weights lie there, computing is in float32.

    `text_encoder`: where that of a student of words is, which goes into the folder for diffusers.
    Raises UsageError if that cannot be, DistillkitError if what was written computes something else.
    """
    if os.path.lexists(out) or not out.name:
        raise UsageError(f"{out} exists already; choose another folder")
    if text_encoder is not None and to != "diffusers":
        raise UsageError(f"--to {to} holds no text encoder; --to diffusers does")
    source = shipped.found(source)
    refuse_unfinished(source)
    made, kept = float32(load(source)), DTYPES[dtype]
    write_as = partial(to_diffusers, text_encoder=text_encoder) if text_encoder else FORMATS[to]
    made.card, scores = known(source, made.card)
    rounded = made if dtype == "fp32" else round_weights(twin(made), kept.dtype)
    with files.staged(out) as folder, torch.no_grad():
        folder.mkdir()
        apart = difference(made, write_as(rounded, source, folder))
        if not apart <= kept.tolerance:  # NaN is not
            refuse(to, dtype, apart)
        write_cards(made, scores, Written(to, dtype, apart), home or Home(), folder)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        os.replace(folder, out)
    return Exported(size, apart)


def adapters(source: Path, out: Path) -> tuple[int, str]:
    """Write a student's adapters alone to a new folder -> its bytes, and the sum of the weights that they belong to.

    Raises UsageError if that cannot be, InputError where all weights trained.
    """
    if os.path.lexists(out) or not out.name:
        raise UsageError(f"{out} exists already; choose another folder")
    source = shipped.found(source)
    refuse_unfinished(source)
    with files.staged(out) as folder:
        folder.mkdir()
        base = adapter_file.apart(network_file.files(source)[0].parent, folder)
        size = sum(file.stat().st_size for file in folder.iterdir())
        os.replace(folder, out)
    return size, base


def twin(made: Student) -> Student:
    """The same student with a network of its own."""
    return Student(copy.deepcopy(made.network), made.sampler, made.card, made.data, made.asking)


def refuse_unfinished(path: Path) -> None:
    """Raises UsageError for a run that has no student yet."""
    if (path / "run.json").is_file() and not (run := RunDir.open(path)).ended:
        raise UsageError(f"{path} is {run.status()}: there is no student in it yet")


def refuse(to: str, dtype: str, apart: float) -> NoReturn:
    """Of what differs too much: rounding that the user asked for, or a graph that is wrong."""
    told = f"differs from the student by {apart:.3g}, more than {DTYPES[dtype].tolerance}; not kept"
    if dtype != "fp32":
        raise UsageError(f"--dtype {dtype}: {told}: choose fp32, or the other of fp16 and bf16")
    raise DistillkitError(f"{to}: {told}")


def float32(made: Student) -> Student:
    made.network.compute_dtype = None
    return made


def difference(made: Student, generate: Generate) -> float:
    """Largest difference of a pixel over all passes; NaN if there is one in either."""
    found = []
    for n in PASSES:
        given = [tensor for tensor in inputs(list(range(n)), None, made) if tensor is not None]
        found.append((generate(*given) - made.sample(*given)).abs().max())
    return float(torch.stack(found).max())


def to_safetensors(made: Student, source: Path, folder: Path) -> Generate:
    """A result folder again, as `distillkit.load` reads it."""
    write(folder / network_file.WEIGHTS, made.network, made.card)
    files.write_json(folder / network_file.CARD, made.card)
    made.asking.write(folder)
    return float32(load(folder)).sample


def to_torch_export(made: Student, source: Path, folder: Path) -> Generate:
    """student.pt2, for torch.export.load."""
    path = folder / "student.pt2"
    save(made, path)
    made.asking.write(folder)
    return torch.export.load(path).module()


def to_onnx(made: Student, source: Path, folder: Path) -> Generate:
    """student.onnx, with inputs z and labels and output x."""
    missing = [name for name in ONNX if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"--to onnx needs {', '.join(missing)}: pip install {' '.join(ONNX)}")
    path = folder / "student.onnx"
    with quiet():
        # Not optimised here: of two clamps of one number that makes a graph which cannot be loaded.
        try:
            program = torch.onnx.export(graph(made), dynamo=True, output_names=["x"], verbose=False, optimize=False)
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().partition("\n")[0][:120]
            use = made.card["network"]["use"]
            raise UsageError(f"network {use!r} makes no graph of ONNX ({reason}); --to torch-export can") from error
        assert program is not None, "dynamo=True makes a program"
        program.save(path)
    made.asking.write(folder)
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def generate(*given: Tensor) -> Tensor:
        feed = dict(zip(names, [tensor.numpy() for tensor in given], strict=True))
        return torch.from_numpy(session.run(None, feed)[0])

    return generate


FORMATS: dict[str, Callable[[Student, Path, Path], Generate]] = {
    "safetensors": to_safetensors, "torch-export": to_torch_export, "onnx": to_onnx, "diffusers": to_diffusers,
}  # fmt: skip
