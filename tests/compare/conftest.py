"""Run folders as the engine leaves them, written by hand."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from distillkit.recipe.write import toml

BASE = {
    "schema": 1,
    "run": {"kimg": 4.0, "batch": 8, "seed": 0, "device": "cpu"},
    "dataset": {"use": "points", "size": 100},
    "teacher_score": {"use": "exact"},
    "generator": {"init": "scratch", "optimizer": {"lr": 1e-3}},
    "sample": {"use": "one-step"},
    "generator_loss": {"use": "sid", "alpha": 1.0},
    "evaluate": [{"use": "m", "every_kimg": 1.0, "images": 50}],
}


@pytest.fixture
def tables():
    """Makes a recipe: BASE with whole tables replaced."""
    return lambda **changed: {**BASE, **changed}


@pytest.fixture
def folder(tmp_path):
    """Writes a run: its values of m/fd at 1, 2, 3 ... kimg, 10 seconds apart."""

    def write(name, fds, *, seed=0, recipe=None, code=0, versions=None, parent=None, rising=None):
        path = tmp_path / f"{sum(1 for _ in tmp_path.glob('0*')) + 1:04d}-{name}"
        (path / "result").mkdir(parents=True)
        (path / "samples").mkdir()
        made = recipe or BASE
        made = {**made, "run": {**made["run"], "seed": seed}}
        (path / "resolved.toml").write_text(toml(made))
        if parent is not None:
            (path / "from").mkdir()
            (path / "from/teacher.toml").write_text(toml(parent))
        print_ = f"{name}{seed}{json.dumps(made)}{versions}"
        info = {"fingerprint": print_, "recipe": name, "versions": versions or {"distillkit": "0.1.0"}}
        (path / "run.json").write_text(json.dumps(info))
        rows = []
        for i, fd in enumerate(fds, 1):
            metrics = {"m/fd": fd, "m/fd_floor": 0.5} | ({"m/recall": rising[i - 1]} if rising else {})
            rows.append({"what": "tick", "nimg": 1000 * i, "seconds": 10.0 * i})
            rows.append({"what": "evaluate", "nimg": 1000 * i, "kimg": float(i), "seconds": 10.0 * i, **metrics})
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if code is not None:
            (path / "exit.json").write_text(json.dumps({"code": code}))
        if code == 0:
            final = {k: float(v) for k, v in rows[-1].items() if "/" in k}
            teacher = {"metrics": {"m/fd": 1.5}, "nfe": 35}
            (path / "result/metrics.json").write_text(json.dumps({"metrics": final, "nfe": 1, "teacher": teacher}))
            Image.new("RGB", (4, 4)).save(path / "samples/kimg-000004.000.png")
        return path

    return write
