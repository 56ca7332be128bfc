"""[run.guard]: six planted collapses are named within two looks, a healthy run is not, and what is done then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit.api import Sampling, hookimpl
from distillkit.builtin.one_step import OneStep
from distillkit.cli.main import main
from distillkit.disk.rundir import RunDir
from distillkit.testing import tiny_recipe

ITERATIONS, BATCH, LOOKS = 120, 32, 6
KIMG = ITERATIONS * BATCH / 1000
EVERY = KIMG / LOOKS
RUN = {"kimg": KIMG, "batch": BATCH, "tick_kimg": EVERY / 2, "checkpoint_kimg": EVERY, "grid": 60}
PLANTED = ITERATIONS // 2
SPOILT: dict[str, Callable[[Tensor], Tensor]] = {
    "one colour": lambda x: x.mean((1, 2, 3), keepdim=True).expand_as(x),
    "one mode": lambda x: x[:1].expand_as(x),
    "saturated": torch.sign,
    "blown up": lambda x: 3 * x,
    "shifted": lambda x: 0.5 * x + 1.5,
    "not finite": lambda x: x * float("nan"),
}


@pytest.fixture
def points(tmp_path: Path) -> Callable[..., Path]:
    """`points(method, **tables)` -> a file: eight Gaussians with a teacher in closed form, 120 iterations, six looks."""

    def write(method: str = "sid", **tables: Any) -> Path:
        defaults: dict[str, Any] = {
            "teacher_score": {"use": "gaussian-mixture"}, "generator_loss": {"noise": "lognormal", "lr": 4e-3},
            "generator": {"network": {"width": 32, "depth": 3}, "optimizer": {"lr": 4e-3}, "ema": "none"},
            "evaluate": [{"use": "mixture", "images": 256, "every_kimg": EVERY}],
        }  # fmt: skip
        changed = {name: {**defaults.get(name, {}), **table} for name, table in tables.items()}
        path = tmp_path / "points.toml"
        path.write_text(tiny_recipe(method, **{**defaults, "run": RUN, **changed}))
        return path

    return write


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`digits(sign, **guard)` -> a file: a student that draws real digits, and spoils them in the second half."""

    def write(sign: str | None = None, **guard: Any) -> Path:
        @hookimpl
        def sample(self: OneStep, state: Sampling, z: Tensor, labels: Tensor | None) -> Tensor:
            run: Any = state
            x = run.dataset.pixels((z.flatten(1).sum(1).double() * 1e4).long() % len(run.dataset))
            return SPOILT[sign](x) if sign and run.iteration >= PLANTED else x

        monkeypatch.setattr(OneStep, "sample", sample)
        path = tmp_path / "digits.toml"
        table = {"run": {**RUN, "guard": guard}, "dataset": {"use": "digits", "conditional": False}, "evaluate": None}
        path.write_text(tiny_recipe("ct", **table))
        return path

    return write


def run(path: Path, *more: str) -> tuple[int, Path]:
    """-> exit code, and the newest run folder."""
    code = main(["run", str(path), "--runs", str(path.parent / "runs"), *more])
    return code, sorted((path.parent / "runs").glob("0*"))[-1]


def end(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "exit.json").read_text())
    return found


def named_at(errors: str, sign: str) -> float:
    """Kimg at which the collapse was told under this name."""
    line = next(line for line in errors.splitlines() if "collapsed at" in line and f": {sign}" in line)
    return float(line.partition("collapsed at ")[2].partition(" kimg")[0])


@pytest.mark.parametrize("sign", SPOILT)
def test_spoilt_images_are_named_within_two_looks(
    digits: Callable[..., Path], sign: str, capsys: pytest.CaptureFixture
) -> None:
    code, folder = run(digits(sign))
    shown = capsys.readouterr()
    assert (code, end(folder)["reason"], RunDir.open(folder).status()) == (0, "collapsed", "collapsed")
    assert any(told.startswith(f"{sign}: ") for told in end(folder)["signs"])
    assert named_at(shown.err, sign) == pytest.approx(KIMG / 2 + EVERY, abs=0.01)  # the first look is just then
    assert "collapsed" in shown.out and "collapsed" in (folder / "report.html").read_text()
    assert sign in json.loads((folder / "result/metrics.json").read_text())["remarks"][0]


def test_a_healthy_run_is_finished_and_says_nothing(
    digits: Callable[..., Path], capsys: pytest.CaptureFixture
) -> None:
    code, folder = run(digits())
    assert (code, end(folder)["reason"], "signs" in end(folder)) == (0, "finished", False)
    assert "collaps" not in "".join(capsys.readouterr())


def test_healthy_points_are_finished(points: Callable[..., Path]) -> None:
    code, folder = run(points())
    assert (code, end(folder)["reason"]) == (0, "finished")


def test_too_high_a_learning_rate_is_named(points: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    code, folder = run(points(generator={"optimizer": {"lr": 3.0}}))
    assert (code, end(folder)["reason"]) == (0, "collapsed")
    assert named_at(capsys.readouterr().err, "worse than one step") <= 3 * EVERY + 0.01


@pytest.mark.parametrize(
    ("sign", "lr_of_discriminator", "lr_of_generator"),
    [("dead discriminator", 1e-12, 4e-3), ("winning discriminator", 1e-2, 1e-12)],
)
def test_a_discriminator_that_is_dead_or_wins_is_named(
    points: Callable[..., Path], sign: str, lr_of_discriminator: float, lr_of_generator: float,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    loss = {"gen_cls_loss_weight": 1.0, "lr": lr_of_discriminator, "warmup_kimg": 0.0, "dfake_gen_update_ratio": 1}
    generator = {"optimizer": {"lr": lr_of_generator, "warmup_kimg": 0.0}}
    code, folder = run(points("dmd2", generator_loss=loss, generator=generator))
    assert (code, end(folder)["reason"]) == (0, "collapsed")
    assert named_at(capsys.readouterr().err, sign) <= 5 * EVERY
