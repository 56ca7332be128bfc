"""The lines of Python in a card that draw with what was exported; a test runs each of them."""

from __future__ import annotations

from collections.abc import Callable

Lines = list[str]


def how(to: str, where: str, shape: tuple[int, int, int], label_dim: int, repo: str | None = None) -> str:
    """Lines for a folder called `where` in the working directory or, where there is one, a repository of the Hub."""
    return "\n".join(_HOW[to](where, shape, label_dim, repo))


def _file(name: str, where: str, repo: str | None) -> tuple[Lines, str]:
    """Lines that come first, and the expression for a file's path."""
    if repo:
        return ["from huggingface_hub import hf_hub_download"], f'hf_hub_download("{repo}", "{name}")'
    return [], f'"{where}/{name}"'


def _distillkit(where: str, shape: tuple[int, int, int], label_dim: int, repo: str | None) -> Lines:
    place = f"hf://{repo}" if repo else where
    return ["import distillkit", "", f'x = distillkit.load("{place}")(n=16, seed=0)']


def _onnx(where: str, shape: tuple[int, int, int], label_dim: int, repo: str | None) -> Lines:
    first, path = _file("student.onnx", where, repo)
    size = ", ".join(map(str, (16, *shape)))
    classes = [f"labels = numpy.eye({label_dim}, dtype=numpy.float32)[numpy.arange(16) % {label_dim}]"]
    feed = '"z": z, "labels": labels' if label_dim else '"z": z'
    return [
        "import numpy", "import onnxruntime", *first, "",
        f"session = onnxruntime.InferenceSession({path})",
        f"z = numpy.random.default_rng(0).standard_normal(({size}), dtype=numpy.float32)",
        *(classes if label_dim else []),
        f'(x,) = session.run(["x"], {{{feed}}})',
    ]  # fmt: skip


def _torch_export(where: str, shape: tuple[int, int, int], label_dim: int, repo: str | None) -> Lines:
    first, path = _file("student.pt2", where, repo)
    classes = [f"labels = torch.eye({label_dim})[torch.arange(16) % {label_dim}]"]
    return [
        "import torch", *first, "",
        f"student = torch.export.load({path}).module()",
        f"z = torch.randn({', '.join(map(str, (16, *shape)))})",
        *(classes if label_dim else []),
        f"x = student(z{', labels' if label_dim else ''})",
    ]  # fmt: skip


def _diffusers(where: str, shape: tuple[int, int, int], label_dim: int, repo: str | None) -> Lines:
    classes = ", class_labels=[0, 1, 0, 1]" if label_dim else ""
    return [
        "# the code to trust: pipeline.py, student/student.py",
        "from diffusers import DiffusionPipeline", "",
        f'pipe = DiffusionPipeline.from_pretrained("{repo or where}", trust_remote_code=True)',
        f"images = pipe(batch_size=4{classes}).images",
    ]  # fmt: skip


_HOW: dict[str, Callable[[str, tuple[int, int, int], int, str | None], Lines]] = {
    "safetensors": _distillkit, "torch-export": _torch_export, "onnx": _onnx, "diffusers": _diffusers,
}  # fmt: skip
