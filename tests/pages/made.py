"""Run folders with all that a page can show, written by hand, and one made by the engine; their pages."""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from distillkit.cli.main import main
from distillkit.compare import Run, compare, compare_rows, write_page
from distillkit.recipe.write import toml
from distillkit.show.report import write_report
from distillkit.testing import tiny_recipe

TOLD = ("fd", "sfd", "kid", "precision", "recall", "density", "coverage", "near_train", "duplicates")
BEST = {"fd": 0.13, "sfd": 0.17, "kid": 0.0, "precision": 0.91, "recall": 0.893, "density": 0.99, "coverage": 0.93,
        "near_train": 0.05, "duplicates": 0.01}  # fmt: skip
PROTOCOL = {"images": "50000 generated, seeds 0-49999", "weights": "sha256 " + "9cebde71f479a8cd" * 4}
RECIPE = {
    "schema": 1,
    "run": {"kimg": 64.0, "batch": 64, "seed": 0, "device": "cpu"},
    "dataset": {"use": "image-zip", "path": "/somewhere/with/a/rather/long/name/of/a/folder/cifar10-32x32.zip"},
    "generator_loss": {"use": "sid", "alpha": 1.0},
    "evaluate": [{"use": "frechet", "every_kimg": 8.0, "images": 50000}],
}  # fmt: skip


def everything(root: Path) -> None:
    """Folders finished, running, collapsed, damaged and 0001-tiny, with their reports; compare.html and study.html."""
    run(root / "finished", code=0)
    run(root / "running", code=None, evaluations=3)
    run(root / "collapsed", code=0, reason="collapsed", diverging=True)
    for part in ("run.json", "resolved.toml"):
        (run(root / "damaged", code=0) / part).unlink()
    tiny(root)
    for place in ("finished", "running", "collapsed", "damaged"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the damaged one has lost
            write_report(root / place)
    comparisons(root)


def run(folder: Path, *, code: int | None, reason: str = "finished", evaluations: int = 8, diverging: bool = False,
        gain: float = 1.0, recipe: dict[str, Any] = RECIPE, seed: int = 0) -> Path:  # fmt: skip
    """Write one, whose FD falls `gain` times as fast as that of the others."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "result").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for i in range(1, 8 * evaluations + 1):
        base = {"nimg": 1000 * i, "kimg": float(i), "seconds": 9.5 * i + seed}
        loss = math.nan if diverging and i == 40 else 2 + math.sin(i * 1.7 + seed) / (1 + i / 16)
        told = {"loss/generator": loss, "loss/fake_score": 90 / i + 3, "grad_norm/generator": 3000.0 / i**1.5}
        rows.append({"what": "tick", **base, **told, "img_per_sec": 105.0 + i % 3, "skipped": int(diverging)})
        if i % 8 == 0:
            rows.append({"what": "evaluate", **base, **measured(i * gain, seed), "health": health(i, diverging)})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = {**recipe, "run": {**recipe["run"], "seed": seed}}
    (folder / "resolved.toml").write_text(toml(made))
    info = {"fingerprint": f"{folder.name}", "recipe": folder.name, "created": "2026-01-02T03:04:05+00:00"}
    (folder / "run.json").write_text(json.dumps({**info, "versions": {"distillkit": "0.1.0", "torch": "2.13.0"}}))
    if code is not None:
        (folder / "exit.json").write_text(json.dumps({"code": code, "reason": reason}))
        student = {name: value for name, value in rows[-1].items() if name.startswith("frechet/")}
        told = {"protocol": {"frechet": PROTOCOL}}
        facts = {"metrics": student, "nfe": 1, "teacher": {"metrics": measured(200.0, 1), "nfe": 35, **told}, **told}
        (folder / "result/metrics.json").write_text(json.dumps({**facts, "nimg": 64000, "seconds": 608.0}))
    for i in range(evaluations + 1):
        sheet(folder / f"samples/kimg-{8 * i:06d}.000.png", 20 + 25 * i)
    sheet(folder / "samples/comparison.png", 128, (280, 90))
    return folder


def measured(progress: float, seed: int) -> dict[str, float]:
    found = {}
    for i, name in enumerate(TOLD):
        wave = 0.01 * math.sin(progress * (i + 1) + seed)
        lower = name in ("fd", "sfd", "kid", "near_train", "duplicates")
        found[f"frechet/{name}"] = BEST[name] + (3 * math.exp(-progress / 12) + abs(wave) if lower else -0.1 + wave)
        found[f"frechet/{name}_sd"] = 0.0123
        found[f"frechet/{name}_{'floor' if lower else 'ceiling'}"] = BEST[name]
    return found


def health(i: int, diverging: bool) -> dict[str, float]:
    return {"finite": 1.0, "saturated": 0.01, "shift": 0.1, "spread": 1.0, "contrast": 0.98,
            "diversity": 2.0 / i if diverging else 1 - 1 / i, "worse/frechet/fd": 1 / i}  # fmt: skip


def sheet(path: Path, grey: int, size: tuple[int, int] = (64, 64)) -> None:
    path.parent.mkdir(exist_ok=True)
    image = Image.new("L", size, 255)
    image.paste(grey, (0, 0, size[0] // 2, size[1] // 2))
    image.save(path)


def tiny(root: Path) -> None:
    """A run by the engine: what it writes today is on its page."""
    here = Path.cwd()
    os.chdir(root)
    try:
        (root / "tiny.toml").write_text(tiny_recipe("sid", teacher_score={"use": "gaussian-mixture"}))
        assert main(["run", "tiny.toml", "--runs", str(root)]) == 0
    finally:
        os.chdir(here)


def comparisons(root: Path) -> None:
    """compare.html: nine groups of two seeds; study.html: two rows of three columns, and one group beside."""
    names = [
        "sid", "sid2a", "sid2a embedding loss ratio=0.5", "sid2a embedding loss ratio=1.0", "dmd2", "di", "cd", "ct",
        "gdd",
    ]  # fmt: skip
    found, labels = [], {}
    for i, name in enumerate(names):
        recipe = {**RECIPE, "generator_loss": {"use": "sid", "alpha": 1 + i / 10}}
        for seed in (0, 1):
            path = run(root / f"other/{i}-{seed}", code=0, gain=1 + i / 4, recipe=recipe, seed=seed)
            found.append(Run.read(path))
            labels[found[-1].path] = name
    write_page(compare(found, labels=labels), root / "compare.html", title="Nine recipes, two seeds each")
    rows = {row: {str(column): names[3 * i + j] for j, column in enumerate(("none", "pixels", "convnet and residual"))}
            for i, row in enumerate(("sid", "dmd2"))}  # fmt: skip
    kept = [run for run in found if labels[run.path] in names[:7]]
    made = compare_rows(kept, {one.path: labels[one.path] for one in kept}, rows,
                        baseline="sid", metrics=(), within=0.05)  # fmt: skip
    write_page(made, root / "study.html", title="embedding-loss", note="2 seeds, --jobs 2")
