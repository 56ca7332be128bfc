"""A teacher whose network is a stranger's: trained from, saved, resumed, sampled, exported; or refused in `setup`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import distillkit
from distillkit.cli.main import main
from distillkit.run import loop
from distillkit.train.state import State

STRANGER = Path(__file__).parent / "thirdparty" / "distillkit-stranger"
TOLD = "state.new_network(choice)"
SCRATCH = ("--set", 'generator={init="scratch", network={use="mlp", width=8}}')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its wheel, installed by pip without any network into a folder for sys.path."""
    root = tmp_path_factory.mktemp("stranger")
    source, site = root / "source", root / "site"
    shutil.copytree(STRANGER, source)
    for command in (
        ["hatchling", "build", "-t", "wheel"],
        ["pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), "--find-links", "dist",
         "distillkit-stranger"],
    ):  # fmt: skip
        subprocess.run([sys.executable, "-m", *command], cwd=source, check=True, capture_output=True)
    return site


@pytest.fixture
def recipe(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its recipe in an empty folder, which is the current one, where the distribution is installed."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    shutil.copy(STRANGER / "recipes" / "stranger.toml", tmp_path)
    return tmp_path / "stranger.toml"


def weights(runs: str) -> bytes:
    return Path(runs, "0001-stranger", "result", "student.safetensors").read_bytes()


class Lost(Exception):
    """The power went out."""


def stop(monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[State], None]:
    """The run dies before iteration `at`, once."""
    real = loop.iterate

    def iterate(state: State) -> None:
        if state.iteration == at:
            monkeypatch.setattr(loop, "iterate", real)
            raise Lost
        real(state)

    return iterate


def test_a_student_of_its_teacher_is_saved_resumed_sampled_and_exported(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", "stranger.toml", "--runs", "whole"]) == 0
    monkeypatch.setattr(loop, "iterate", stop(monkeypatch, at=7))
    assert main(["run", "stranger.toml", "--runs", "cut"]) == 1
    assert main(["run", "stranger.toml", "--runs", "cut"]) == 0
    assert weights("cut") == weights("whole")
    run = "whole/0001-stranger"
    assert main(["sample", run, "-n", "4", "--out", "sheet.png"]) == 0 and Path("sheet.png").is_file()
    assert main(["export", run, "--to", "safetensors", "exported"]) == 0
    x = distillkit.load(run)(n=2, seed=0)
    assert x.shape == (2, 1, 8, 8) and torch.equal(distillkit.load("exported")(n=2, seed=0), x)


def test_a_copy_of_a_network_that_says_nothing_of_itself_is_refused_before_it_trains(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "stranger.toml", "--set", "teacher_score.use=stranger-bare"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if TOLD in line]
    assert "teacher_score 'stranger-bare'" in line and "Convolutions" in line and "docs/plugins.md, Networks" in line
    assert not list(Path("runs").rglob("student.safetensors")) and not list(Path("runs").rglob("kimg-*"))


def test_such_a_network_teaches_another_to_the_end(recipe: Path) -> None:
    assert main(["run", "stranger.toml", "--set", "teacher_score.use=stranger-bare", *SCRATCH]) == 0
    assert distillkit.load("runs/0001-stranger")(n=2, seed=0).isfinite().all()


def test_its_author_finds_its_contracts_kept(site: Path, tmp_path: Path) -> None:
    shutil.copytree(STRANGER / "tests", tmp_path / "tests")
    options = ["-q", "-p", "no:cacheprovider", "-W", "error::DeprecationWarning"]
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests"], cwd=tmp_path, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout and "skipped" not in tested.stdout
