"""The lines of Python in a card that draw with what was exported; a test runs each of them."""

from __future__ import annotations

import json
from collections.abc import Callable

from distillkit.networks.asked import FILE, Asking

Lines = list[str]
Shape = tuple[int, int, int]
PROMPTS = 4  # in an example


def how(to: str, where: str, shape: Shape, asking: Asking, repo: str | None = None) -> str:
    """Lines for a folder called `where` in the working directory or, where there is one, a repository of the Hub."""
    return "\n".join(_HOW[to](where, shape, asking, repo))


def _prompts(asking: Asking) -> str:
    """A few prompts as a list of Python."""
    known = ["..."] if asking.prompts is None else list(asking.prompts.words[:PROMPTS])
    return json.dumps(known, ensure_ascii=False)


def _rows(asking: Asking, where: str, repo: str | None, library: str) -> tuple[Lines, Lines]:
    """Imports, and the lines that make labels of 16 images: classes, or the prompts whose rows lie in a file."""
    n, numbers = asking.size, f"{library}.arange(16)"
    if not asking.layout.has_words:
        kind = ", dtype=numpy.float32" if library == "numpy" else ""
        return [], [f"labels = {library}.eye({n}{kind})[{numbers} % {n}]"] if n else []
    if asking.prompts is None:
        kind = ", dtype=numpy.float32" if library == "numpy" else ""
        return [], [f"labels = {library}.zeros((16, {n}){kind})  # of no words"]
    first, path = _file(FILE, where, repo)
    kind = "torch" if library == "torch" else "numpy"
    told = ", ".join(asking.prompts.words[:PROMPTS])
    return [*first, f"from safetensors.{kind} import load_file"], [
        f'rows = load_file({path})["rows"]  # of {told} ...'[:118],
        f"labels = rows[{numbers} % len(rows)]",
    ]


def _file(name: str, where: str, repo: str | None) -> tuple[Lines, str]:
    """Lines that come first, and the expression for a file's path."""
    if repo:
        return ["from huggingface_hub import hf_hub_download"], f'hf_hub_download("{repo}", "{name}")'
    return [], f'"{where}/{name}"'


def _distillkit(where: str, shape: Shape, asking: Asking, repo: str | None) -> Lines:
    place = f"hf://{repo}" if repo else where
    more = f", prompts={_prompts(asking)}" if asking.layout.has_words else ""
    return ["import distillkit", "", f'x = distillkit.load("{place}")(n=16, seed=0{more})']


def _onnx(where: str, shape: Shape, asking: Asking, repo: str | None) -> Lines:
    first, path = _file("student.onnx", where, repo)
    more, labels = _rows(asking, where, repo, "numpy")
    size, feed = ", ".join(map(str, (16, *shape))), '"z": z, "labels": labels' if labels else '"z": z'
    return [
        "import numpy", "import onnxruntime", *dict.fromkeys([*first, *more]), "",
        f"session = onnxruntime.InferenceSession({path})",
        f"z = numpy.random.default_rng(0).standard_normal(({size}), dtype=numpy.float32)",
        *labels,
        f'(x,) = session.run(["x"], {{{feed}}})',
    ]  # fmt: skip


def _torch_export(where: str, shape: Shape, asking: Asking, repo: str | None) -> Lines:
    first, path = _file("student.pt2", where, repo)
    more, labels = _rows(asking, where, repo, "torch")
    return [
        "import torch", *dict.fromkeys([*first, *more]), "",
        f"student = torch.export.load({path}).module()",
        f"z = torch.randn({', '.join(map(str, (16, *shape)))})",
        *labels,
        f"x = student(z{', labels' if labels else ''})",
    ]  # fmt: skip


def _diffusers(where: str, shape: Shape, asking: Asking, repo: str | None) -> Lines:
    given = f"prompt={_prompts(asking)}" if asking.layout.has_words else "batch_size=4"
    given += ", class_labels=[0, 1, 0, 1]" if asking.layout.classes else ""
    return [
        "# the code to trust: pipeline.py, student/student.py",
        "from diffusers import DiffusionPipeline", "",
        f'pipe = DiffusionPipeline.from_pretrained("{repo or where}", trust_remote_code=True)',
        f"images = pipe({given}).images",
    ]  # fmt: skip


_HOW: dict[str, Callable[[str, Shape, Asking, str | None], Lines]] = {
    "safetensors": _distillkit, "torch-export": _torch_export, "onnx": _onnx, "diffusers": _diffusers,
}  # fmt: skip
