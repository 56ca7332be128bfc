"""`distillkit plan --gpu`: time and cost on a GPU that is not here, by counted work, never as if it were measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.plan.gpus import GPUS, assumed
from distillkit.plan.stages import stages
from distillkit.registry import Catalog

RECIPES = Path(__file__).parents[2] / "recipes"
GAUSSIANS = RECIPES / "gaussians_sid.toml"
LARGE = ("run.kimg=800000", "run.batch=256")


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plan", str(GAUSSIANS), *arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_time_is_counted_work_over_a_share_of_the_peak(precision: str, tmp_path: Path) -> None:
    sets = (*LARGE, f'run.precision="{precision}"')
    stage = stages(GAUSSIANS, sets, tmp_path / "runs", Catalog.installed())[-1]
    speed = assumed(stage, "h100", 0.4, 1, 0)
    assert speed is not None
    peak = getattr(GPUS["h100"], precision)
    assert speed.seconds_left(stage.recipe) == pytest.approx(stage.flops / (0.4 * peak))
    half = assumed(stage, "h100", 0.4, 1, 400_000_000)
    assert half is not None and half.seconds_left(stage.recipe) == pytest.approx(stage.flops / (0.8 * peak))


def test_processes_share_the_work_as_evenly_as_the_batch_goes(tmp_path: Path) -> None:
    sets = (*LARGE, "run.micro_batch=64")
    stage = stages(GAUSSIANS, sets, tmp_path / "runs", Catalog.installed())[-1]
    alone, two, three = (assumed(stage, "a100", 0.35, n, 0) for n in (1, 2, 3))
    assert alone and two and three
    assert two.img_per_sec == pytest.approx(2 * alone.img_per_sec)
    assert three.img_per_sec == pytest.approx(2 * alone.img_per_sec)  # one of them has two of four micro-batches


def test_it_is_called_assumed_with_the_share_and_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    sets = [part for key in LARGE for part in ("--set", key)]
    text = told(capsys, "--gpu", "h100", "--price", "2500000", *sets)
    assert "assumed, not measured: 35% (--share) of the 67 TFLOP/s in fp32 that NVIDIA H100 SXM has by its data" in text
    assert "memory: 72 GB of 80 GB, NVIDIA H100 SXM, by its data sheet" in text
    assert "--price" not in text and "?" not in text
    alone = float(re.search(r"([\d.]+) in gaussians_sid", text)[1])
    other = told(capsys, "--gpu", "H100", "--price", "2500000", "--share", "0.07", "--nproc", "4", *sets)
    assert "7% (--share)" in other and "on each of 4, and nothing lost between them" in other
    assert float(re.search(r"([\d.]+) in gaussians_sid", other)[1]) == pytest.approx(5 * alone, rel=0.02)
    assert "--memory" not in told(capsys, "--gpu", "l40s", "--memory", "10")


def test_the_verdict_is_of_one_process_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    line = "--set", "run.batch=256"
    whole = told(capsys, *line, "--gpu", "a100").rpartition("fits: ")[2]
    part = told(capsys, *line, "--gpu", "a100", "--nproc", "8").rpartition("fits: ")[2]
    assert "run.micro_batch = 256" in whole and "run.micro_batch = 32" in part


def test_what_has_no_peak_is_not_invented(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "--gpu", "h100", "--set", 'run.precision="fp64"')
    assert "? ?" in text and "no peak in fp64 is known of h100" in text


def test_here_is_a_probe_of_this_machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillkit.plan.gpus.PROBED", 0.02)
    text = told(capsys, "--gpu", "here")
    assert re.search(r"assumed, not measured: 35% \(--share\) of the \S+ .?FLOP/s in fp32 that a convolution", text)


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--gpu", "h1000"], "a100, a100-40gb, h100"), (["--share", "0.5"], "name one, --gpu h100"),
     (["--gpu", "h100", "--share", "0"], "--share"), (["--gpu", "h100", "--share", "1.5"], "at most 1")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(GAUSSIANS), *flags]) == 2
    assert message in capsys.readouterr().err
