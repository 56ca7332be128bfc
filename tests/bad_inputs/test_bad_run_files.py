"""Files of a run with values that no run writes: a page shows what is a number, or one line says what is wrong."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

RUN = Path("runs/0001-x")
HUGE = "1" + "0" * 400
RESULT, LOG, INFO, EXIT, RECIPE = "result/metrics.json", "metrics.jsonl", "run.json", "exit.json", "resolved.toml"
BAD: dict[str, tuple[str, str]] = {  # what is in which file
    "result: no JSON": (RESULT, "{"),
    "result: a list": (RESULT, "[]"),
    "result: a metric that is text": (RESULT, '{"metrics": {"a/b": "x"}}'),
    "result: a metric that is true": (RESULT, '{"metrics": {"a/b": true}}'),
    "result: a metric beyond all numbers": (RESULT, f'{{"metrics": {{"a/b": {HUGE}}}}}'),
    "result: metrics are a list": (RESULT, '{"metrics": [1]}'),
    "result: protocol is text": (RESULT, '{"metrics": {}, "protocol": "x"}'),
    "result: protocol is a list": (RESULT, '{"metrics": {}, "protocol": ["x"]}'),
    "result: images beyond all numbers": (RESULT, f'{{"metrics": {{}}, "nimg": {HUGE}}}'),
    "result: calls that are text": (RESULT, '{"metrics": {}, "nfe": "\\u001b[31m"}'),
    "result: deep": (RESULT, "[" * 5000),
    "run: a list": (INFO, "[]"),
    "run: not UTF-8": (INFO, "\udcff"),
}
ODD: dict[str, tuple[str, str]] = {  # what is left out, or shown as it is
    "log: images beyond all numbers": (LOG, f'{{"what": "tick", "nimg": {HUGE}}}'),
    "log: images that are true": (LOG, '{"what": "tick", "nimg": true}'),
    "log: a metric that is text": (LOG, '{"what": "evaluate", "nimg": 9, "a/b": "x"}'),
    "log: a metric beyond all numbers": (LOG, f'{{"what": "evaluate", "nimg": 9, "a/b": {HUGE}}}'),
    "log: seconds without end": (LOG, '{"what": "tick", "nimg": 9, "seconds": Infinity}'),
    "log: seconds that are text": (LOG, '{"what": "tick", "nimg": 9, "seconds": "soon"}'),
    "log: skips that are text": (LOG, '{"what": "tick", "nimg": 9, "skipped": "<b>"}'),
    "result: not finite": (RESULT, '{"metrics": {"a/b": "nan", "c/d": Infinity}, "nfe": 1}'),
    "run: numbers for names": (INFO, '{"fingerprint": "x", "versions": 1, "recipe": 5}'),
    "exit: a list for a code": (EXIT, '{"code": [1]}'),
    "exit: a table for a code": (EXIT, '{"code": {}}'),
    "recipe: numbers for tables": (RECIPE, "schema = 1\nrun = 5\ndataset = 7"),
    "recipe: no tables": (RECIPE, "schema = 1"),
    "recipe: not UTF-8": (RECIPE, "\udcff"),
    "recipe: no TOML": (RECIPE, "x"),
    "recipe: deep": (RECIPE, "x = " + "[" * 5000),
}


def put(name: str, text: str) -> None:
    (RUN / "result/manifest.json").unlink(missing_ok=True)  # which would tell, and no more than that it is damaged
    (RUN / name).write_bytes(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize("name", BAD)
def test_a_page_of_what_cannot_be_read_is_refused_in_one_line(lab, name):
    file, text = BAD[name]
    put(file, text)
    lab.refused(["report", str(RUN)], 3, str(RUN / file), touched=True)


def told(lab, command: str) -> str:
    """A command that ends well, or refuses in one line."""
    code, out, err = lab.give([command, str(RUN)])
    assert code in (0, 2, 3), err
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == (code != 0), err
    assert not set(out + err) & {chr(code) for code in (*range(10), *range(11, 32), *range(127, 160))}
    return err


@pytest.mark.parametrize("command", ["report", "compare"])
@pytest.mark.parametrize("name", [*ODD, *BAD])
def test_odd_values_are_no_bugs(lab, name, command):
    file, text = (ODD | BAD)[name]
    put(file, text)
    told(lab, command)


@pytest.mark.parametrize("file", [RESULT, INFO, EXIT, RECIPE])
def test_a_byte_order_mark_does_not_matter(lab, file):
    put(file, "\ufeff" + (RUN / file).read_text())
    for command in ("report", "compare"):
        assert lab.give([command, str(RUN)])[0] == 0


VALUES: tuple[Any, ...] = (
    None, True, -1, 10**400, 1e308, 5e-324, float("inf"), float("nan"), "", "x" * 999, "\x1b[2J", [], {}, [[1]],
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = replaced(value[path[0]], path[1:], new)
    return value


@pytest.mark.parametrize("seed", range(25))
def test_any_value_may_be_replaced_by_any_other(lab, seed):
    draw = random.Random(seed)
    file = draw.choice([RESULT, LOG, INFO, EXIT])
    lines = (RUN / file).read_text().splitlines() if file == LOG else [(RUN / file).read_text()]
    i = draw.randrange(len(lines))
    value = json.loads(lines[i])
    lines[i] = json.dumps(replaced(value, draw.choice(places(value)), draw.choice(VALUES)))
    put(file, "\n".join(lines) + "\n")
    for command in ("report", "compare"):
        told(lab, command)
    page = (RUN / "report.html").read_text(encoding="utf-8")
    assert "\x1b" not in page
