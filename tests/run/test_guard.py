"""[run.guard]: six planted collapses are named within two looks, a healthy run is not, and what is done then."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from distillkit.api import Sampling, hookimpl
from distillkit.builtin.mlp import MlpDenoiser
from distillkit.builtin.one_step import OneStep
from distillkit.cli.main import main
from distillkit.disk import checkpoint
from distillkit.disk.rundir import RunDir
from distillkit.recipe import read
from distillkit.registry import Catalog
from distillkit.run import loop
from distillkit.run.training import Training
from distillkit.testing import tiny_recipe
from distillkit.train import snapshot, turns
from distillkit.train.build import build
from distillkit.train.iterate import iterate
from distillkit.train.step import Step

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
    """`points(method, **tables)` -> a file: eight Gaussians, a teacher in closed form, 120 iterations, six looks."""

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


def run(path: Path, *more: str, recipe: bool = True) -> tuple[int, Path]:
    """-> exit code, and the newest run folder."""
    code = main(["run", *[str(path)] * recipe, "--runs", str(path.parent / "runs"), *more])
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


def test_a_healthy_run_is_finished_and_says_nothing(digits: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    code, folder = run(digits())
    assert (code, end(folder)["reason"], "signs" in end(folder)) == (0, "finished", False)
    assert "collaps" not in "".join(capsys.readouterr())


def test_healthy_points_are_finished(points: Callable[..., Path]) -> None:
    code, folder = run(points())
    assert (code, end(folder)["reason"]) == (0, "finished")


def test_too_high_a_learning_rate_is_named(points: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    """By which signs, and how soon, is another thing on every machine: such a run has no bits that stay."""
    code, folder = run(points(generator={"optimizer": {"lr": 3.0}}))
    assert (code, end(folder)["reason"]) == (0, "collapsed")
    shown = capsys.readouterr().err
    assert "collapsed" in shown and any(sign.partition(":")[0] in shown for sign in end(folder)["signs"])


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


def test_a_run_from_weights_of_no_variance_is_not_called_collapsed(points: Callable[..., Path]) -> None:
    code, folder = run(points(generator={"optimizer": {"lr": 1e-12}}))  # it stays as it began: that is no fall
    assert (code, end(folder)["reason"]) == (0, "finished")


def test_a_resumed_run_has_the_same_verdict(
    digits: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = digits("one mode")
    _, whole = run(path)
    real = Training.maintain

    def killed(self: Training) -> None:
        real(self)
        if self.state.iteration == PLANTED + 30:
            raise MemoryError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(Training, "maintain", killed)
        assert run(path, "--again")[0] == 5
    _, parts = run(path, "--resume", str(sorted((tmp_path / "runs").glob("0*"))[-1]), recipe=False)
    assert parts != whole and end(parts) == end(whole)


def test_stop_ends_with_4_and_has_a_page(digits: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    code, folder = run(digits("one colour", action="stop"))
    assert (code, RunDir.open(folder).status()) == (4, "diverged")
    assert (
        end(folder)["reason"].startswith("collapsed: one colour")
        and "it was well at 1.28 kimg" in end(folder)["reason"]
    )
    assert "collapsed: one colour" in (folder / "report.html").read_text()
    assert end(folder)["nimg"] == 2560 and not (folder / "result").exists()


def test_return_ends_with_the_last_healthy_average(digits: Callable[..., Path]) -> None:
    code, folder = run(digits("one colour", action="return"))
    assert (code, end(folder)["reason"], end(folder)["nimg"]) == (0, "collapsed", 2560)
    result = json.loads((folder / "result/metrics.json").read_text())
    assert result["nimg"] == 1280 and "is the average at 1.28 kimg, before that" in result["remarks"][0]
    healthy = load_file(folder / "checkpoints/kimg-000001.280/ema.safetensors")
    student = load_file(folder / "result/student.safetensors")
    assert {key.removeprefix("ema/generator/"): value.tolist() for key, value in healthy.items()} == {
        key: value.tolist() for key, value in student.items()
    }


def test_off_looks_at_nothing(digits: Callable[..., Path]) -> None:
    code, folder = run(digits("one mode", action="off"))
    assert (code, end(folder)["reason"]) == (0, "finished")
    assert "health" not in (folder / "metrics.jsonl").read_text()


def test_a_collapsed_run_is_run_again_unless_asked(digits: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    path = digits("one mode")
    _, first = run(path)
    assert run(path, "--reuse-collapsed") == (0, first)
    shown = capsys.readouterr().out
    assert f"reuse {first} (collapsed)" in shown.replace("\n", "") or "(collapsed)" in shown
    code, second = run(path)
    assert (code, second != first) == (0, True)
    assert f"{first} is not reused: it collapsed" in capsys.readouterr().err


def test_nothing_is_trained_on_a_parent_that_collapsed(
    digits: Callable[..., Path], capsys: pytest.CaptureFixture
) -> None:
    parent = digits("one mode")
    child = parent.with_name("child.toml")
    child.write_text(f'schema = 1\nextends = "{parent.name}"\n[generator]\nfrom = "{parent.name}"\n')
    for folders in (1, 1):  # it was trained just now; it was there
        code, _ = run(child)
        assert (code, len(list((parent.parent / "runs").glob("0*")))) == (4, folders)
        assert "nothing is trained on it" in capsys.readouterr().err
    assert run(child, "--reuse-collapsed")[0] == 0


def test_a_diverged_run_keeps_its_batch_names_the_tensor_and_has_a_page(
    points: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    real = MlpDenoiser.forward

    def forward(self: MlpDenoiser, x: Tensor, *more: Any, **named: Any) -> Tensor:
        poisoned = sick["now"] and torch.is_grad_enabled()
        return real(self, x * float("inf") if poisoned else x, *more, **named)

    sick = {"now": False}
    monkeypatch.setattr(MlpDenoiser, "forward", forward)
    monkeypatch.setattr(loop, "iterate", lambda state: (sick.update(now=state.iteration >= 50), iterate(state)))
    path = points()
    code, folder = run(path)
    assert (code, RunDir.open(folder).status()) == (4, "diverged")
    reason = end(folder)["reason"]
    assert "first not finite: output of" in reason and " in fake_score, [32, " in reason
    assert reason.split(";")[0] in html.unescape((folder / "report.html").read_text())
    (kept,) = (folder / "diverged").glob("kimg-*")
    assert f"diverged/{kept.name}" in reason and not list(folder.rglob("*.p*kl*")) and not list(folder.rglob("*.pt"))
    batch = load_file(kept / "batch.safetensors")
    assert {key.removeprefix("batch/") for key in batch} == {"index", "real", "x"}
    state = build(read(path), Catalog.installed())  # it can be replayed
    tensors, meta = checkpoint.load(kept, "cpu")
    snapshot.restore(state, tensors, meta)
    turn = next(turn for turn in state.turns if turn.name == meta["turn"])
    assert torch.equal(Step(state, turn.name, 0, BATCH, BATCH).real, batch["batch/real"])
    assert bool(turns.take(state, turn))
    sick["now"] = False
    assert not bool(turns.take(state, turn))


@pytest.mark.parametrize(
    ("method", "more", "end_of_name"),
    [("sida", {}, ""), ("dmd2", {}, ""), ("sid", {"auxiliary_loss": [{"use": "adversarial"}]}, "/adversarial")],
)
def test_logits_and_accuracies_of_every_discriminator_are_logged(
    points: Callable[..., Path], method: str, more: dict[str, Any], end_of_name: str
) -> None:
    path = points(method, run={"kimg": 0.64, "tick_kimg": 0.32}, generator_loss={"warmup_kimg": 0.0})
    path.write_text(path.read_text() + "".join(f'[[{table}]]\nuse = "{t["use"]}"\n' for table, (t,) in more.items()))
    _, folder = run(path)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    ticks = [row for row in rows if row["what"] == "tick"]
    names = {f"{what}/{side}{end_of_name}" for what in ("logit", "accuracy") for side in ("real", "fake")}
    assert ticks and all(names <= row.keys() for row in ticks)
    assert all(0 <= row[name] <= 1 for row in ticks for name in names if name.startswith("accuracy"))
