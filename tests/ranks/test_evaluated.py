"""Runs of two processes have the metrics of one: images and features that both make, and a best average."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distillkit.testing import tiny_recipe

pytestmark = pytest.mark.ranks
AROUND = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
POINTS = tiny_recipe(
    "sid", run={"precision": "fp64", "keep_best": "mixture/on_mode"}, dataset={"size": 1500},
    teacher_score={"use": "gaussian-mixture"}, generator_loss={"lr": 1e-2},
    generator={"optimizer": {"lr": 0.1}, "ema": "power"},
    evaluate=[{"use": "mixture", "images": 1500, "every_kimg": 0.016}],
)  # fmt: skip


def digits(images: int) -> str:
    return tiny_recipe(
        "edm", run={"precision": "fp64", "kimg": 0.032}, dataset={"use": "digits"}, sample={"use": "heun", "steps": 2},
        generator={"network": {"use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1], "num_blocks": 1}},
        evaluate=[{"use": "frechet", "images": images, "final_seeds": 1}],
    )  # fmt: skip


def start(folder: Path, recipe: str, *more: str) -> subprocess.Popen[str]:
    (folder / "r.toml").write_text(recipe)
    command = [sys.executable, "-m", "distillkit", "run", "r.toml", *more]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=AROUND, **pipes)


def results(folder: Path, recipe: str, *more: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a run of it found: the file with its metrics, and the rows of its log."""
    process = start(folder, recipe, *more, "--runs", f"runs{len(more)}")
    said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    (run,) = (folder / f"runs{len(more)}").glob("0*")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return json.loads((run / "result" / "metrics.json").read_text()), rows


@pytest.mark.parametrize("recipe", [POINTS, digits(700)], ids=["images", "features"])
def test_two_processes_measure_what_one_does(tmp_path: Path, recipe: str) -> None:
    (one, rows), (two, others) = (results(tmp_path, recipe, *more) for more in ((), ("--nproc", "2")))
    assert one["metrics"] and two["metrics"] == pytest.approx(one["metrics"], rel=1e-5, abs=1e-9)
    assert two["nimg"] == one["nimg"]
    assert [row["what"] for row in others] == [row["what"] for row in rows]
    if recipe == POINTS:  # the best average went back from the first process to both
        assert two["nimg"] < 64
        change = two["metrics"]["mixture/sw2"] / two["last"]["mixture/sw2"] - 1
        assert abs(change) > 1e-3, "the case proves nothing of the average that is sent"
    looks = [[row["health"] for row in some if "health" in row] for some in (rows, others)]
    assert looks[0] and all(b == pytest.approx(a, rel=1e-5, abs=1e-9) for a, b in zip(*looks, strict=True))


def test_a_signal_in_a_long_evaluation_ends_all_processes_with_what_was_saved(tmp_path: Path) -> None:
    process = start(tmp_path, digits(100_000), "--nproc", "2")
    end = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/checkpoints/kimg-*32/state.json")):
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.05)
    time.sleep(3)  # it is measured now, for a minute or more
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75, error
    assert "go on with: distillkit run --resume" in error
