"""What goes beside an exported student: student.json for programs, README.md for people."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from distillkit import __version__
from distillkit.disk import files, manifest, results, typed
from distillkit.disk.results import Scores
from distillkit.images import pictures
from distillkit.networks import licences, network_file, shipped, snippets
from distillkit.networks.hub_metadata import Home, front_matter
from distillkit.recipe import shipped as recipes
from distillkit.recipe.load import load
from distillkit.show import formats

if TYPE_CHECKING:
    from distillkit.networks.loaded import Student

SHEET, METRICS, PAGE = "samples.png", Path(results.FILE).name, "README.md"
DRAWN = 16  # images of the sheet
AVERAGES = {"halflife": ("ema_halflife_kimg", "ema_rampup_ratio"), "power": ("ema_gamma",), "none": ()}


@frozen
class Written:
    """How a student was written: format, type of the weights, largest difference of a pixel from it in float32."""

    to: str
    dtype: str
    difference: float


def known(source: Path, card: dict[str, Any]) -> tuple[dict[str, Any], Scores]:
    """The card of a student with what its run's recipe says of its origin, and its scores."""
    weights = network_file.files(source)[0]
    run = weights.parent.parent
    file = run / "resolved.toml"
    if weights.is_relative_to(shipped.FOLDER):  # made by the recipe of that name, which comes along as well
        file = recipes.path_of(str(card["recipe"]), Path())
    recipe = load(file).data if file.is_file() else {}
    if (weights.parent / METRICS).is_file():
        scores = results.read_file(weights.parent / METRICS)
    else:
        scores = results.read_or_last(run, None) if recipe else Scores(student={})
    facts = {
        "method": _use(recipe.get("generator_loss")), "teacher": _use(recipe.get("teacher_score")),
        "data": _use(recipe.get("dataset")), "average": _average(recipe, scores) if recipe else None,
    }  # fmt: skip
    told = {key: value for key, value in facts.items() if value is not None}
    return {**facts, **card, **told, "licence": card.get("licence") or None}, scores


def write_cards(made: Student, scores: Scores, written: Written, home: Home, folder: Path) -> None:
    """student.json and metrics.json for programs, README.md and samples.png for people, hashes of all but the page."""
    exported = {"format": written.to, "dtype": written.dtype, "difference": written.difference}
    card = {**made.card, "nfe": made.nfe, "export": {**exported, "by": f"distillkit {__version__}"}}
    if warning := licences.non_commercial(card["licence"]):
        warnings.warn(f"{folder.name} is {warning}", stacklevel=2)
    files.write_json(folder / network_file.CARD, card)
    if scores.student:
        results.write_file(folder / METRICS, scores)
    pictures.grid(made(DRAWN, device="cpu"), folder / SHEET, columns=8)
    how = snippets.how(written.to, folder.name, made.shape, made.asking, home.repo)
    text = front_matter(card, scores, home) + "\n" + "\n".join(_page(card, made, scores, how, home))
    files.write_atomic(folder / PAGE, text.encode())
    for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        manifest.seal(place)


def _average(recipe: dict[str, Any], scores: Scores) -> str:
    """Which weights are the result."""
    generator, run = recipe.get("generator", {}), recipe.get("run", {})
    kind = generator.get("ema", "halflife")
    keys = ", ".join(f"{key} {generator[key]}" for key in AVERAGES.get(kind, ()) if key in generator)
    which = "the weights themselves" if kind == "none" else f"{kind} ({keys})" if keys else str(kind)
    if scores.last is None:
        return which
    best = run.get("keep_best")
    return f"{which}; not the last, but {f'the best by {best}' if best else 'the last healthy one'}"


def _use(table: dict[str, Any] | None) -> str | None:
    """A component by name, with the file that it was read from."""
    if not isinstance(table, dict) or "use" not in table:
        return None
    origin = table.get("from") or table.get("checkpoint") or table.get("path")
    return f"{table['use']}, {Path(str(origin)).name}" if origin else str(table["use"])


def _page(card: dict[str, Any], made: Student, scores: Scores, how: str, home: Home) -> Iterable[str]:
    channels, size, _ = made.shape
    sampler = ", ".join(f"{key} {value}" for key, value in card["sample"].items() if key != "use")
    yield f"# {_cell(card.get('recipe', 'student'))}\n"
    yield f"![{DRAWN} images of the student]({SHEET})\n"
    yield "| | |\n|---|---|"
    yield from _rows({
        "method": card["method"], "teacher": card["teacher"], "data": card["data"],
        "images": f"{size} x {size} x {channels}", "labels": _labels(made),
        "network": card["network"]["use"], "network calls per image": made.nfe,
        "sampler": f"{card['sample']['use']} ({sampler})" if sampler else card["sample"]["use"],
        "average": card["average"],
        "trained on": f"{card['nimg'] / 1000:g} kimg" if card.get("nimg") is not None else None,
        "weights": f"stored as {card['export']['dtype']}, computed with in fp32",
        "made with": ", ".join(f"{name} {number}" for name, number in card.get("versions", {}).items()) or None,
        "licence": (f"{home.licence}; made with: " if home.licence else "") + licences.told(card["licence"]),
    })  # fmt: skip
    if warning := licences.non_commercial(card["licence"]):
        yield f"\nThis student is {warning}."
    yield "\n## Measured\n"
    yield from _measured(scores)
    if scores.student and card["export"]["dtype"] != "fp32":
        yield f"\nMeasured before the weights were rounded to {card['export']['dtype']}."
    yield f"\n## How to load\n\n```python\n{how}\n```\n"
    yield (
        f"z is unit normal noise [N,{channels},{size},{size}]"
        + (f", labels are {_told(made)} [N,{made.label_dim}]" if made.label_dim else "")
        + ("; x are latents, which distillkit.load decodes." if card.get("decoder") else "; x is in [-1,1].")
    )
    yield f"Largest difference of a pixel from the student that was trained: {card['export']['difference']:.2g}.\n"


def _labels(made: Student) -> str:
    prompts = made.asking.prompts
    if not made.asking.layout.has_words:
        return str(made.label_dim or "none")
    return "words" + (f', such as "{prompts.words[0]}"' if prompts else "")


def _told(made: Student) -> str:
    """What the rows of labels are."""
    layout = made.asking.layout
    if not layout.has_words:
        return "one-hot"
    parts = [f"{layout.classes} classes"] if layout.classes else []
    parts += [f"{layout.tokens} embedded tokens of {layout.width} numbers and their mask"] if layout.tokens else []
    return ", ".join([*parts, *([f"a vector of {layout.pooled} numbers for all words"] if layout.pooled else [])])


def _rows(table: dict[str, Any]) -> Iterable[str]:
    for name, value in table.items():
        yield f"| {name} | {'unknown' if value is None else _cell(value)} |"


def _cell(value: Any) -> str:
    """In a table of Markdown, which hubs show as a page."""
    return escape(typed.text(value), quote=False).replace("|", "\\|")


def _measured(scores: Scores) -> Iterable[str]:
    """Metrics with those of the teacher and the floor, real images against real ones."""
    if not scores.student:
        yield "nothing"
        return
    yield f"| metric | teacher, NFE {scores.teacher_nfe or '-'} | student, NFE {scores.nfe or '-'} | real v real |"
    yield "|---|---|---|---|"
    for row in scores.rows():
        values = [(row.teacher, row.teacher_sd), (row.student, row.student_sd), (row.floor, row.floor_sd)]
        yield f"| {_cell(row.name)} | " + " | ".join(_value(*each) for each in values) + " |"
    for name, facts in scores.protocol.items():
        yield f"\n{_cell(name)}: {_cell('; '.join(f'{key}: {value}' for key, value in facts.items()))}"
    for remark in [*scores.remarks, *scores.left_out()]:
        yield f"\n{_cell(remark)}"


def _value(value: float | None, sd: float | None) -> str:
    return "-" if value is None else formats.with_spread(value, sd)
