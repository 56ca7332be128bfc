"""A run that was stopped and goes on ends with the bits of a run that was not."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.run import loop
from distillkit.train.state import State

TEACHER = """
schema = 1
[run]
kimg = 0.064
batch = 16
checkpoint_kimg = 0.064
threads = 1
device = "cpu"
[dataset]
use = "digits"
[generator]
init = "scratch"
ema = "power"
[generator.network]
use = "edm-ddpmpp"
model_channels = 8
channel_mult = [1, 2]
num_blocks = 1
attn_resolutions = [4]
dropout = 0.1
[sample]
use = "heun"
steps = 2
[generator_loss]
use = "edm"
"""
SIDA = """
schema = 1
[run]
kimg = 0.16
batch = 16
checkpoint_kimg = 0.064
threads = 1
device = "cpu"
[dataset]
use = "digits"
[teacher_score]
use = "network"
from = "teacher.toml"
[generator.optimizer]
lr = 1e-3
name = "radam"
[generator_loss]
use = "sida"
lr = 1e-3
warmup_kimg = 0.05
generator_after_kimg = 0.016
gan_after_kimg = 0.032
[[auxiliary_loss]]
use = "embedding"
real_batch = 32
refresh_every = 4
[[auxiliary_loss.embeddings]]
use = "pixels"
[[auxiliary_loss.embeddings]]
use = "convnet"
"""
OFTEN = "tick_kimg = 0.05\ncheckpoint_kimg = 0.048\n"  # ticks and checkpoints at different images
METRICS = '[[evaluate]]\nuse = "mixture"\nevery_kimg = 0.064\nimages = 64\n'


class Lost(Exception):
    """The power went out."""


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """`stop(k, how)` calls `how` once, before the iteration number k."""
    real = loop.iterate

    def install(at: int, how: Callable[[], None]) -> None:
        def iterate(state: State) -> None:
            if state.iteration == at and state.recipe.name != "teacher":
                monkeypatch.setattr(loop, "iterate", real)
                how()
            real(state)

        monkeypatch.setattr(loop, "iterate", iterate)

    return install


def die() -> None:
    raise Lost


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


def run(recipe: Path, runs: str, *more: str) -> int:
    return main(["run", str(recipe), "--runs", str(recipe.parent / runs), *more])


def folder(recipe: Path, runs: str, name: str = "0001-tiny") -> Path:
    return recipe.parent / runs / name


@pytest.fixture
def recipe(tiny: Callable[..., Path], embedding: str) -> Path:
    """SiD with embedding loss and metrics, with its uninterrupted run in runs `whole`."""
    path = tiny(embedding + METRICS)
    path.write_text(path.read_text().replace("[dataset]", OFTEN + "[dataset]", 1))
    assert run(path, "whole") == 0
    return path


@pytest.mark.parametrize("at", range(0, 10, 2))
def test_a_run_that_died_goes_on_with_the_same_command(
    recipe: Path, stop: Callable, same_runs: Callable, at: int
) -> None:
    stop(at, die)
    assert run(recipe, "cut") == 1
    assert json.loads((folder(recipe, "cut") / "exit.json").read_text())["code"] == 1
    assert run(recipe, "cut") == 0
    same_runs(folder(recipe, "whole"), folder(recipe, "cut"))


@pytest.mark.parametrize("at", [0, 4, 5, 9])
def test_a_signal_saves_and_leaves_with_code_75_and_the_rest_is_identical(
    recipe: Path, stop: Callable, same_runs: Callable, at: int, capsys: pytest.CaptureFixture
) -> None:
    stop(at, terminate)
    cut = folder(recipe, "cut")
    assert run(recipe, "cut") == 75  # after the last iteration too: the evaluation is left
    found = json.loads((cut / "exit.json").read_text())
    nimg = 16 * (at + 1)
    assert (found["code"], found["nimg"], found["checkpoint"]) == (75, nimg, f"kimg-000000.{nimg:03d}")
    assert "SIGTERM" in found["reason"] and f"distillkit run --resume {cut}" in capsys.readouterr().err
    assert main(["run", "--resume", str(cut)]) == 0
    same_runs(folder(recipe, "whole"), cut)


def test_a_run_stopped_at_every_iteration_still_ends_the_same(
    recipe: Path, stop: Callable, same_runs: Callable
) -> None:
    for at in range(9):
        stop(at, terminate)
        assert run(recipe, "cut") == 75
    assert run(recipe, "cut") == 0
    same_runs(folder(recipe, "whole"), folder(recipe, "cut"))


@pytest.mark.parametrize("file", ["networks.safetensors", "state.json", "manifest.json"])
def test_a_flipped_bit_costs_one_checkpoint_and_no_accuracy(
    recipe: Path, stop: Callable, same_runs: Callable, capsys: pytest.CaptureFixture, file: str
) -> None:
    stop(8, die)
    assert run(recipe, "cut") == 1
    newest = sorted((folder(recipe, "cut") / "checkpoints").iterdir())[-1]
    content = bytearray((newest / file).read_bytes())
    content[len(content) // 2] ^= 4
    (newest / file).write_bytes(content)
    assert run(recipe, "cut") == 0
    told = capsys.readouterr().err
    assert f"checkpoint {newest.name} is damaged" in told and newest.with_name(f"damaged-{newest.name}").is_dir()
    same_runs(folder(recipe, "whole"), folder(recipe, "cut"))


def test_a_finished_run_is_reused_and_again_runs_it_again(recipe: Path, same_runs: Callable) -> None:
    before = (folder(recipe, "whole") / "metrics.jsonl").stat().st_mtime_ns
    assert run(recipe, "whole") == 0
    assert [path.name for path in (recipe.parent / "whole").glob("0*")] == ["0001-tiny"]
    assert (folder(recipe, "whole") / "metrics.jsonl").stat().st_mtime_ns == before
    assert run(recipe, "whole", "--again") == 0
    same_runs(folder(recipe, "whole"), folder(recipe, "whole", "0002-tiny"))


def test_a_changed_recipe_is_not_the_same_run(recipe: Path) -> None:
    assert run(recipe, "whole", "--set", "generator_loss.alpha=1.1") == 0
    assert run(recipe, "whole", "--seed", "1") == 0
    assert len(list((recipe.parent / "whole").glob("0*"))) == 3


def test_a_seed_changes_the_result(recipe: Path) -> None:
    assert run(recipe, "whole", "--seed", "1") == 0
    students = {(path / "result" / "student.safetensors").read_bytes() for path in (recipe.parent / "whole").glob("0*")}
    assert len(students) == 2


@pytest.mark.parametrize(("micro", "how"), [(16, die), (4, terminate)])
def test_sida_with_everything_on_digits_resumes_exactly(
    tmp_path: Path, stop: Callable, same_runs: Callable, micro: int, how: Callable[[], None]
) -> None:
    """Dropout, a joint encoder, RAdam, real images, gates in images, embeddings drawn anew, micro-batches."""
    (tmp_path / "teacher.toml").write_text(TEACHER)
    path = tmp_path / "sida.toml"
    path.write_text(SIDA)
    sets = ("--set", f"run.micro_batch={micro}", "--set", "run.grid=10")
    assert run(path, "runs", *sets) == 0
    stop(5, how)
    assert run(path, "runs", *sets, "--again") in (1, 75)
    assert main(["run", "--resume", str(tmp_path / "runs" / "0003-sida")]) == 0
    same_runs(tmp_path / "runs" / "0002-sida", tmp_path / "runs" / "0003-sida")
