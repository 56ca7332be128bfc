"""`distillkit plan`: what it says of recipes whose files are missing, of runs, and of memory; its exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
import torch

from distillkit.api import UsageError
from distillkit.cli.main import main
from distillkit.disk.rundir import RunDir
from distillkit.plan import fit
from distillkit.plan.dry import Cost, TurnCost
from distillkit.plan.stages import Stage
from distillkit.recipe import read
from distillkit.registry import Catalog
from distillkit.run.nodes import graph
from distillkit.train import turns

RECIPES = Path(__file__).parents[2] / "recipes"
GAUSSIANS = RECIPES / "gaussians_sid.toml"


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plan", *arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_missing_files_are_told_and_no_error_and_no_memory_is_taken() -> None:
    # What getrusage says of a child begins with the memory of this process, which tests before may have grown.
    code = (
        "import sys; from distillkit.cli.main import main; main(sys.argv[1:]); print(open('/proc/self/status').read())"
    )
    call = [sys.executable, "-c", code, "plan", str(RECIPES / "cifar10_uncond_sid.toml"), "--memory", "8"]
    done = subprocess.run(call, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"}, check=False)
    assert done.returncode == 0, done.stderr
    for part in (
        "missing: edm-cifar10-32x32-uncond-vp.pkl",
        "missing: cifar-10-python.tar.gz",
        "55,733,891",
        "fake_score",
    ):
        assert part in done.stdout
    plan, _, status = done.stdout.partition("Name:")
    assert plan.splitlines()[-1].startswith(("fits", "does not fit"))
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    assert peak < 800_000  # kB; the weights, averages and moments of this recipe are 1.8 GB
    assert "\x1b" not in plan


def test_gaussians_fit_and_nothing_is_said_about_speed_without_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, str(GAUSSIANS), "--memory", "1")
    assert "fits: " in text
    assert "img/s of gaussians_sid: no run of it in --runs" in text
    assert "a kill of gaussians_sid loses: at most 15 min of training or 64 kimg, whichever is less" in text
    assert "8,770" in text  # [4,64], 2 x [64,64], [64,2] with biases: 320 + 8320 + 130
    assert not Path("runs").exists()


def test_speed_comes_from_a_run_of_the_same_recipe_and_gives_time_and_cost(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    node = graph(GAUSSIANS, (), Catalog.installed(), None)[-1]
    run = RunDir.create(tmp_path / "runs", "gaussians_sid", node.fingerprint, node.versions)
    row = {"what": "tick", "nimg": 128_000, "kimg": 128.0, "seconds": 64.0, "img_per_sec": 1.0}
    run.metrics.write_text(json.dumps(row) + "\n")
    text = told(capsys, str(GAUSSIANS), "--price-per-hour", "30")
    assert f"img/s of gaussians_sid: runs/{run.path.name}" in text
    assert "2000 3 min 12 s 1.60" in text  # 384 kimg left at 2000 img/s are 192 s


def test_measuring_runs_real_iterations_and_leaves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = told(capsys, str(GAUSSIANS), "--measure", "--set", "run.batch=16", "--set", "run.threads=1")
    assert "measured now, 20 iterations, CPU, threads: 1" in text
    assert list(tmp_path.iterdir()) == []


def test_a_network_nobody_knows_is_said_to_be_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, str(RECIPES / "afhq_sid.toml"), "--set", "teacher_score.checkpoint=mine.pkl")
    assert "is missing; a network is a result folder" in text
    assert "cannot tell whether it fits" in text


def test_a_part_that_needs_numbers_is_named_and_no_bug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(*_: object) -> None:
        torch.ones(3, device="meta").nonzero()

    monkeypatch.setattr(turns, "take", take)
    text = told(capsys, str(GAUSSIANS))
    assert "a part of it cannot do without numbers" in text
    assert "cannot tell whether it fits: gaussians_sid" in text


def test_an_unreadable_recipe_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "nowhere.toml"]) == 2
    assert main(["plan", str(GAUSSIANS), "--memory", "0"]) == 2
    assert "nowhere.toml" in capsys.readouterr().err


def stage(micro: int) -> Stage:
    """A stage of 64 images whose largest turn takes 1 GB and 0.5 GB for each image of a micro-batch."""
    recipe = read(GAUSSIANS)
    recipe = attrs.evolve(recipe, run=attrs.evolve(recipe.run, batch=64, micro_batch=micro))
    turn = TurnCost(name="generator", every=1, flops=1.0, peak=1e9 + micro * 5e8, gradients=0)
    cost = Cost(batch=64, micro_batch=micro, turns=(turn,))
    return Stage(recipe=recipe, chained=recipe, run=None, missing=(), cost=cost, slope=5e8)


@pytest.mark.parametrize(
    ("micro", "memory", "first", "last"),
    [
        (32, 20, "fits: 17 GB with run.micro_batch = 32 ", "18 GB usable"),
        (16, 20, "fits: 9 GB with run.micro_batch = 16 ", "; run.micro_batch = 32 would fit too"),
        (64, 20, "does not fit: 33 GB with run.micro_batch = 64 ", "; fits with run.micro_batch = 32 (17 GB)"),
        (64, 1, "does not fit: 33 GB with", "nor with run.micro_batch = 1 (1.5 GB); try run.checkpoint_activations = "
                                            'true, run.offload = true, run.precision = "bf16", or a smaller network'),
    ],
)  # fmt: skip
def test_the_verdict_names_the_micro_batch_that_fits(micro: int, memory: float, first: str, last: str) -> None:
    said = fit.verdict([stage(micro)], fit.device(memory, "auto"))
    assert said.startswith(first) and said.endswith(last)


def test_the_memory_is_that_of_the_gpu_which_the_recipe_names(monkeypatch) -> None:
    sizes = [8e9, 80e9]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(sizes))
    facts = [SimpleNamespace(total_memory=size, name=f"GPU {i}") for i, size in enumerate(sizes)]
    monkeypatch.setattr(torch.cuda, "get_device_properties", facts.__getitem__)
    found = [fit.device(None, name) for name in ("auto", "cuda", "cuda:1", "cuda:7", "cpu", "xpu")]
    assert [device.source.partition(",")[0] for device in found[:3]] == ["GPU 0", "GPU 0", "GPU 1"]
    assert [device.memory for device in found[:3]] == [8e9, 8e9, 80e9]
    assert all(device.source.endswith("no GPU") for device in found[3:])


def test_memory_is_what_linux_calls_available_and_elsewhere_all_there_is(tmp_path: Path, monkeypatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16000 kB\nMemAvailable:    8000 kB\n")
    assert fit.main_memory(meminfo).memory == 8000 * 1024
    assert fit.main_memory(tmp_path / "none").memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(os, "sysconf_names", {})
    with pytest.raises(UsageError, match="--memory 16"):
        fit.main_memory(tmp_path / "none")


def test_what_several_processes_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, str(GAUSSIANS), "--nproc", "3", "--set", "run.batch=256")
    assert "on 3 processes: each holds 85 to 86 of 256 images, 86 a pass, in at most" in text
    assert "the most has 86 images, so 1% of all time is waited" in text
    one = re.search(r"fake_score 8,770 ([\d.]+ kB)", text)
    assert one and one[1] == "35.1 kB", text
    assert "the gradients: joint 70.2 kB; and" in text  # of both networks
    sets = "--set", "run.batch=256", "--set", "run.micro_batch=64"
    assert "each holds 64 to 128 of 256 images, 64 a pass" in told(capsys, str(GAUSSIANS), "--nproc", "3", *sets)
    text = told(capsys, str(GAUSSIANS), "--nproc", "5", *sets)
    assert "run.micro_batch = 64 makes work for 4 processes at most, not 5" in text


@pytest.mark.parametrize(("memory", "strict", "code"), [("1", True, 5), ("1", False, 0), ("1000", True, 0)])
def test_strictly_a_recipe_that_does_not_fit_is_an_error(memory: str, strict: bool, code: int) -> None:
    assert main(["plan", "cifar10_cond_sid", "--memory", memory, *["--strict"] * strict]) == code
