"""report.html: everything about a run on one self-contained page, built from its folder alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from distillkit.api import InputError
from distillkit.disk import files, results, typed
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.rundir import RunDir
from distillkit.show import formats, html, svg

NOT_CURVES = {"what", "nimg", "kimg", "seconds"}
FOOTER = "Written by distillkit from this run's folder; `distillkit report` writes it again."


def write_report(run_dir: Path, *, title: str | None = None) -> Path:
    """Write `run_dir/report.html` and return its path, see `rendered`."""
    path = run_dir / "report.html"
    files.write_atomic(path, rendered(run_dir, title=title).encode())
    return path


def rendered(run_dir: Path, *, title: str | None = None) -> str:
    """The page of a run, finished or not; warns of parts that it has lost, which are left out.

    Raises InputError for a damaged run.json, exit.json, resolved.toml or result/metrics.json.
    """
    RunDir(run_dir, _json(run_dir / "run.json")).warn_of_changes()
    for lost in (name for name in ("run.json", "resolved.toml") if not (run_dir / name).is_file()):
        warnings.warn(f"{run_dir} has no {lost}: what it says is not on the page", stacklevel=2)
    rows = MetricsLog(run_dir / "metrics.jsonl").read()
    scores = results.read_or_last(run_dir, rows)
    name = title or typed.text(_json(run_dir / "run.json").get("recipe") or run_dir.resolve().name)
    sections = [
        _header(name, run_dir, rows),
        html.section("Result", _scores(scores) + _remarks([*scores.remarks, *scores.left_out()])),
        html.section("Protocol", _protocol(scores.protocol)),
        html.section("Pictures", _pictures(run_dir)),
        html.section("Metrics", _charts(_metric_charts(rows, scores))),
        html.section("Training", _charts(_tick_charts(rows))),
        html.section("Health", _charts(_health_charts(rows))),
        html.section("Resolved recipe", _recipe(run_dir / "resolved.toml")),
        html.section("Made with", _facts(_versions(run_dir))),
    ]
    return html.page(name, "\n".join(sections), FOOTER)


def _header(name: str, run_dir: Path, rows: list[dict[str, Any]]) -> str:
    end = _json(run_dir / "exit.json")
    code = end.get("code")
    if end and type(code) is not int:
        raise InputError(f"{run_dir / 'exit.json'} has no exit code")
    if code == 0 and end.get("reason") == "collapsed":
        status = '<span class="failed">collapsed</span>'
    elif code == 0:
        status = '<span class="done">finished</span>'
    elif code is None:
        status = "not finished"
    else:
        status = f'<span class="failed">ended with code {escape(str(code))}</span> {escape(str(end.get("reason", "")))}'
    facts = [status]
    facts += _progress(rows) if rows else []
    made = str(_json(run_dir / "run.json").get("created", ""))
    facts += [f"started {escape(made[:16].replace('T', ' '))} UTC"] if made else []
    return f'<header><h1>{escape(name)}</h1>\n<p class="sub">{" &middot; ".join(facts)}</p></header>'


def _progress(rows: list[dict[str, Any]]) -> list[str]:
    facts = [f"{formats.kimg(rows[-1]['nimg'])} kimg"]
    if isinstance(rows[-1].get("seconds"), int | float):
        facts.append(formats.duration(rows[-1]["seconds"]))
    skipped = max((row["skipped"] for row in rows if type(row.get("skipped")) is int), default=0)
    if skipped:
        facts.append(f'<span class="failed">updates skipped (not finite): {skipped}</span>')
    return facts


def _scores(scores: results.Scores) -> str:
    rows = scores.rows()
    if not rows:
        return ""
    taught = any(row.teacher is not None for row in rows)
    heads = [_head("teacher", scores.teacher_nfe)] if taught else []
    heads += [
        _head("student" if scores.teacher else "this run", scores.nfe),
        f"<th>real v real<small>{formats.FLOORS}</small></th>",
    ]
    lines = []
    for row in rows:
        cells = [f"<td>{escape(row.name)}</td>"]
        cells += [f"<td>{_value(row.teacher, row.teacher_sd)}</td>"] if taught else []
        cells += [
            f'<td class="student">{_value(row.student, row.student_sd)}</td>',
            f"<td>{_value(row.floor, row.floor_sd)}</td>",
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = f"<tr><th>metric</th>{''.join(heads)}</tr>"
    return f'<div class="scroll"><table class="scores">{head}\n{chr(10).join(lines)}</table></div>'


def _remarks(remarks: Iterable[str]) -> str:
    return "\n".join(f'<p class="failed">{escape(text)}</p>' for text in remarks)


def _protocol(protocol: Mapping[str, Mapping[str, str]]) -> str:
    return "\n".join(f"<h3>{escape(name)}</h3>\n{_facts(facts)}" for name, facts in protocol.items())


def _head(name: str, nfe: int | None) -> str:
    return f"<th>{name}{f'<small>NFE {nfe}</small>' if nfe else ''}</th>"


def _value(value: float | None, sd: float | None = None) -> str:
    if value is None:
        return "&ndash;"
    return formats.number(value) + (f" <small>&plusmn; {sd:.2g}</small>" if sd is not None else "")


def _pictures(run_dir: Path) -> str:
    """Those of fixed seeds, first and last, then others, and the pictures among the figures of metrics."""
    sheets = html.pictures(run_dir / "samples", "kimg-*.png")
    others = sorted(set(html.pictures(run_dir / "samples", "*.png")) - set(sheets))
    others += html.pictures(run_dir / "figures", "*.png")
    pictures = [html.picture(path, path.stem.replace("_", " ")) for path in others]
    pair = (
        {"first": sheets[0], "last": sheets[-1]}
        if len(sheets) > 1
        else dict.fromkeys(["samples"][: len(sheets)], *sheets)
    )
    pictures += [html.picture(path, caption, "half") for caption, path in pair.items()]
    return f'<div class="pictures">{"".join(pictures)}</div>' if pictures else ""


def _charts(charts: Iterable[svg.Chart]) -> str:
    drawn = "\n".join(f"<div>{svg.draw(chart)}</div>" for chart in charts)
    return f'<div class="charts">{drawn}</div>' if drawn else ""


def _metric_charts(rows: list[dict[str, Any]], scores: results.Scores) -> list[svg.Chart]:
    known = {row.name: row for row in scores.rows()}
    charts = []
    for name, points in _curves(rows, "evaluate").items():
        if name not in known or len(points) < 2:  # floors and spreads are reference lines; one point is no curve
            continue
        lines = {"teacher": known[name].teacher, "floor": known[name].floor}
        references = {label: value for label, value in lines.items() if value is not None}
        charts.append(svg.Chart(title=name, points=points, references=references))
    return charts


def _tick_charts(rows: list[dict[str, Any]]) -> list[svg.Chart]:
    curves = _curves(rows, "tick")
    moving = [name for name, points in curves.items() if len({y for _, y in points}) > 1]
    moving.sort(key=lambda name: not name.startswith("loss/"))
    return [svg.Chart(title=name, points=curves[name]) for name in moving]


def _health_charts(rows: list[dict[str, Any]]) -> list[svg.Chart]:
    """What [run.guard] looks at, in images: shares and ratios to real ones, and to the teacher's one step."""
    looks = [
        {**row["health"], "what": "look", "nimg": row["nimg"]} for row in rows if isinstance(row.get("health"), dict)
    ]
    curves = {name: points for name, points in _curves(looks, "look").items() if not name.startswith("start/")}
    return [svg.Chart(title=name, points=points) for name, points in curves.items() if len(points) > 1]


def _curves(rows: list[dict[str, Any]], what: str) -> dict[str, list[svg.Point]]:
    """Collect points (kimg, value) by name, from the rows of one kind: "tick" or "evaluate"."""
    curves: dict[str, list[svg.Point]] = {}
    for row in rows:
        for name, value in row.items() if row["what"] == what else ():
            if name not in NOT_CURVES and isinstance(value, int | float):
                curves.setdefault(name, []).append((row["nimg"] / 1000, float(value)))
    return curves


def _recipe(path: Path) -> str:
    if not path.is_file():
        return ""
    text = files.read(path).decode(errors="replace").removeprefix(typed.BOM)
    lines = escape(text, quote=False).splitlines()
    return f"<pre>{chr(10).join(f'<b>{line}</b>' if line.startswith('[') else line for line in lines)}</pre>"


def _versions(run_dir: Path) -> Mapping[str, Any]:
    found = _json(run_dir / "run.json").get("versions")
    if not found and (run_dir / "resolved.toml").is_file():
        found = typed.toml(run_dir / "resolved.toml").get("made_with")
    return found if isinstance(found, dict) else {}


def _facts(facts: Mapping[str, Any]) -> str:
    rows = [f"<tr><td>{escape(str(key))}</td><td>{escape(str(value))}</td></tr>" for key, value in facts.items()]
    return f'<table class="facts">{"".join(rows)}</table>' if rows else ""


def _json(path: Path) -> dict[str, Any]:
    return typed.json_object(path) if path.is_file() else {}
