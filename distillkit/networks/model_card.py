"""What goes beside an exported student: student.json for programs, README.md for people."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillkit import __version__
from distillkit.disk import files, results, typed
from distillkit.networks import licences, network_file
from distillkit.recipe.load import load
from distillkit.show import formats

if TYPE_CHECKING:
    from distillkit.networks.loaded import Student


def _how(to: str, folder: str, labels: bool) -> str:
    """The lines of Python that generate with what was exported."""
    if to == "onnx":
        feed = '{"z": z, "labels": labels}' if labels else '{"z": z}'
        session = 'session = onnxruntime.InferenceSession("student.onnx")'
        return f"import onnxruntime\n\n{session}\n(x,) = session.run(None, {feed})"
    if to == "diffusers":
        load = f'pipe = DiffusionPipeline.from_pretrained("{folder}", trust_remote_code=True)'
        images = f"images = pipe(batch_size=4{', class_labels=[0, 1, 0, 1]' if labels else ''}).images"
        code = "# the code to trust: pipeline.py, student/student.py"
        return f"{code}\nfrom diffusers import DiffusionPipeline\n\n{load}\n{images}"
    if to == "torch-export":
        student = 'student = torch.export.load("student.pt2").module()'
        return f"import torch\n\n{student}\nx = student({'z, labels' if labels else 'z'})"
    return f'import distillkit\n\nx = distillkit.load("{folder}")(n=16, seed=0)'


def write_cards(source: Path, made: Student, to: str, difference: float, folder: Path) -> None:
    """student.json: the student's card with its origin; README.md: the same and how to load it, in words."""
    run = network_file.files(source)[0].parent.parent
    recipe = load(run / "resolved.toml").data if (run / "resolved.toml").is_file() else {}
    facts = {
        "method": _use(recipe.get("generator_loss")), "teacher": _use(recipe.get("teacher_score")),
        "data": _use(recipe.get("dataset")),
    }  # fmt: skip
    exported = {"format": to, "dtype": "float32", "difference": difference, "by": f"distillkit {__version__}"}
    found = made.card.get("licence")
    known = {key: value for key, value in facts.items() if value is not None}
    card = {**facts, **made.card, **known, "licence": found or None, "export": exported}
    if warning := licences.non_commercial(found):
        warnings.warn(f"{folder.name} is {warning}", stacklevel=2)
    files.write_json(folder / network_file.CARD, card)
    scores = results.read_or_last(run, None) if recipe else results.Scores(student={})
    text = "\n".join(_page(card, made, scores, _how(to, folder.name, bool(made.label_dim))))
    files.write_atomic(folder / "README.md", text.encode())


def _use(table: dict[str, Any] | None) -> str | None:
    """A component by name, with the file that it was read from."""
    if not isinstance(table, dict) or "use" not in table:
        return None
    origin = table.get("from") or table.get("checkpoint") or table.get("path")
    return f"{table['use']}, {Path(str(origin)).name}" if origin else str(table["use"])


def _page(card: dict[str, Any], made: Student, scores: results.Scores, how: str) -> Iterable[str]:
    channels, size, _ = made.shape
    sampler = ", ".join(f"{key} {value}" for key, value in card["sample"].items() if key != "use")
    yield f"# {_cell(card.get('recipe', 'student'))}\n"
    yield "| | |\n|---|---|"
    yield from _rows({
        "method": card["method"], "teacher": card["teacher"], "data": card["data"],
        "images": f"{size} x {size} x {channels}", "labels": made.label_dim or "none",
        "network": card["network"]["use"], "network calls per image": made.nfe,
        "sampler": f"{card['sample']['use']} ({sampler})" if sampler else card["sample"]["use"],
        "trained on": f"{card['nimg'] / 1000:g} kimg" if card.get("nimg") is not None else None,
        "made with": ", ".join(f"{name} {number}" for name, number in card.get("versions", {}).items()) or None,
        "licence": licences.told(card["licence"]),
    })  # fmt: skip
    if warning := licences.non_commercial(card["licence"]):
        yield f"\nThis student is {warning}."
    yield "\n## Measured\n"
    yield from _measured(scores)
    yield f"\n## How to load\n\n```python\n{how}\n```\n"
    yield (
        f"z is unit normal noise [N,{channels},{size},{size}]"
        + (f", labels are one-hot [N,{made.label_dim}]" if made.label_dim else "")
        + ("; x are latents, which distillkit.load decodes." if card.get("decoder") else "; x is in [-1,1].")
    )
    yield f"Largest difference of a pixel from the student that was trained: {card['export']['difference']:.2g}.\n"


def _rows(table: dict[str, Any]) -> Iterable[str]:
    for name, value in table.items():
        yield f"| {name} | {'unknown' if value is None else _cell(value)} |"


def _cell(value: Any) -> str:
    """In a table of Markdown, which hubs show as a page."""
    return escape(typed.text(value), quote=False).replace("|", "\\|")


def _measured(scores: results.Scores) -> Iterable[str]:
    """Metrics with those of the teacher and the floor, real images against real ones."""
    if not scores.student:
        yield "nothing"
        return
    yield f"| metric | teacher, NFE {scores.teacher_nfe or '-'} | student, NFE {scores.nfe or '-'} | real v real |"
    yield "|---|---|---|---|"
    for row in scores.rows():
        values = [(row.teacher, row.teacher_sd), (row.student, row.student_sd), (row.floor, row.floor_sd)]
        yield f"| {_cell(row.name)} | " + " | ".join(_value(*each) for each in values) + " |"
    for remark in [*scores.remarks, *scores.left_out()]:
        yield f"\n{remark}"


def _value(value: float | None, sd: float | None) -> str:
    return "-" if value is None else formats.with_spread(value, sd)
