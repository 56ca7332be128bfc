"""What stands at the top of a card between two lines of ---: the YAML by which the Hub finds, files and ranks it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from distillkit.api.printable import printable
from distillkit.disk import alike
from distillkit.disk.results import Row, Scores

LIBRARIES = {"safetensors": "distillkit", "diffusers": "diffusers", "onnx": "onnx", "torch-export": "pytorch"}
LICENCES = ("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
            "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "openrail", "creativeml-openrail-m", "unknown", "other")  # fmt: skip
TASK, OF_WORDS = "unconditional-image-generation", "text-to-image"  # the Hub has no task for classes
ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)  # of a repository


@frozen
class Home:
    """Where an exported folder will lie, and what its owner says of it that no run knows."""

    repo: str | None = None  # USER/NAME on the Hub
    licence: str | None = None  # as the Hub has it: "apache-2.0"
    base_model: str | None = None  # the teacher on the Hub
    datasets: tuple[str, ...] = field(default=())  # on the Hub


def front_matter(card: dict[str, Any], scores: Scores, home: Home) -> str:
    """The block with its two lines of ---."""
    to = card["export"]["format"]
    tags = ["distillkit", "diffusion", "distillation", "one-step" if card.get("nfe") == 1 else None,
            (card.get("method") or "").split(",")[0] or None, card["network"]["use"]]  # fmt: skip
    table = {
        **_licence(card.get("licence"), home.licence), "library_name": LIBRARIES[to], "pipeline_tag": _task(card),
        "tags": [tag for tag in dict.fromkeys(tags) if tag], "base_model": home.base_model,
        "datasets": list(home.datasets), "model-index": _index(card, scores),
    }  # fmt: skip
    return "\n".join(["---", *_lines({key: value for key, value in table.items() if value}), "---", ""])


def _task(card: dict[str, Any]) -> str:
    return OF_WORDS if (card.get("layout") or {}).get("tokens") else TASK


def _licence(binding: dict[str, str] | None, said: str | None) -> dict[str, str]:
    if said:
        return {"license": said.lower()}
    found = {text.lower().replace(" ", "-") for text in (binding or {"": "unknown"}).values()}
    known = found.pop() if len(found) == 1 else "other"
    if known in LICENCES and known != "other":
        return {"license": known}
    return {"license": "other", "license_name": "see-the-card", "license_link": "README.md"}


def _index(card: dict[str, Any], scores: Scores) -> list[dict[str, Any]]:
    """A model-index: an entry of each evaluate component with its protocol, and in it a metric each."""
    by: dict[str, list[Row]] = {}
    for row in scores.rows():
        if row.student is not None and math.isfinite(row.student):
            by.setdefault(alike.component(row.name), []).append(row)
    data = (card.get("data") or "unknown").split(",")[0]
    results = [
        {
            "task": {"type": _task(card)},
            "dataset": {"type": data, "name": data, "args": scores.protocol.get(name, {})},
            "metrics": [_metric(row, scores) for row in rows],
        }
        for name, rows in by.items()
    ]
    return [{"name": str(card.get("recipe", "student")), "results": results}] if results else []


def _metric(row: Row, scores: Scores) -> dict[str, Any]:
    more = {"spread": row.student_sd, "teacher": row.teacher, "teacher_spread": row.teacher_sd, "real": row.floor,
            "better": scores.better.get(row.name)}  # fmt: skip
    known = {key: value for key, value in more.items() if isinstance(value, str) or _number(value)}
    return {"type": row.name.partition("/")[2], "name": row.name, "value": row.student} | (
        {"args": known} if known else {}
    )


def _number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _lines(table: dict[str, Any], pad: str = "") -> Iterator[str]:
    """YAML of dicts, lists and JSON's scalars, which are YAML as well."""
    for key, value in table.items():
        name = f"{pad}{key if re.fullmatch('[a-z][a-z_-]*', key) else _scalar(key)}:"
        if isinstance(value, dict) and value:
            yield name
            yield from _lines(value, f"{pad}  ")
        elif isinstance(value, list):
            yield name
            for item in value:
                first, *rest = _lines(item, f"{pad}  ") if isinstance(item, dict) else [f"{pad}  {_scalar(item)}"]
                yield f"{pad}- {first.strip()}"
                yield from rest
        else:
            yield f"{name} {_scalar(value)}"


def _scalar(value: Any) -> str:
    return json.dumps(printable(value) if isinstance(value, str) else value, ensure_ascii=False, allow_nan=False)
