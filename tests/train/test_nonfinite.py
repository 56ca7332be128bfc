"""A NaN in a loss or a gradient changes no weight, is counted and shown; too many in a row end the run at a tick."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit.api import Diverged
from distillkit.cli.main import main
from distillkit.train import snapshot, turns
from distillkit.train.iterate import iterate
from distillkit.train.state import State

Make = Callable[..., State]


class BadGradient(torch.autograd.Function):
    """The same number, whose gradient is not finite."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * float("inf")


BAD = {"loss": lambda loss: loss * float("nan"), "gradient": BadGradient.apply}


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`inject(hook, what, iterations)` spoils the first image's loss in those iterations."""

    def install(hook: str, what: str, iterations: range) -> None:
        real = turns.per_image

        def per_image(loss: Tensor, name: str, step: turns.Step) -> Tensor:
            loss = real(loss, name, step)
            if name == hook and step.state.iteration in iterations and step.first == 0:
                loss = torch.cat([BAD[what](loss[:1]), loss[1:]])
            return loss

        monkeypatch.setattr(turns, "per_image", per_image)

    return install


def bits(state: State, name: str) -> list[bytes]:
    tensors = [*state.networks[name].state_dict().values(), *state.updaters[name].tensors().values()]
    return [tensor.numpy().tobytes() for tensor in tensors]


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize(("hook", "network"), [("critic_loss", "fake_score"), ("generator_loss", "generator")])
@pytest.mark.parametrize("shared", [False, True], ids=["alternating", "joint"])
@pytest.mark.parametrize("micro", [16, 4])
def test_no_weight_of_the_turn_changes_and_the_next_one_recovers(
    make_state: Make, inject: Callable, embedding: str, what: str, hook: str, network: str, shared: bool, micro: int
) -> None:
    inject(hook, what, range(1, 2))
    sets = (f"generator_loss.shared_forward={str(shared).lower()}", f"run.micro_batch={micro}")
    state = make_state(*sets, more=embedding)
    names = {"fake_score", "generator"}
    unchanged = []
    for _ in range(3):
        before = {name: bits(state, name) for name in names}
        iterate(state)
        unchanged.append({name for name in names if bits(state, name) == before[name]})
    assert unchanged == [set(), names if shared else {network}, set()]
    assert (state.skipped, state.skips.in_a_row()) == (1, {})
    assert all(torch.isfinite(p).all() for net in (*state.networks.values(), state.ema) for p in net.parameters())


def test_a_healthy_turn_does_not_hide_a_sick_one(make_state: Make, inject: Callable) -> None:
    inject("generator_loss", "loss", range(100))
    state = make_state("run.max_nonfinite=2")
    for _ in range(3):
        turns.check(state)
        iterate(state)
    with pytest.raises(Diverged, match=r"turn 'generator' was not finite 3 times in a row, at 0\.032 kimg: loss = nan"):
        turns.check(state)


def average(state: State) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in state.ema.parameters()]


def test_the_average_moves_with_the_generator_alone(make_state: Make, inject: Callable) -> None:
    inject("generator_loss", "gradient", range(1, 3))
    inject("critic_loss", "loss", range(4, 5))
    state, moved = make_state(), []
    for _ in range(6):
        before = average(state)
        iterate(state)
        moved.append(average(state) != before)
    assert moved == [True, False, False, True, True, True]


def test_a_row_that_ended_before_the_tick_is_still_too_long_and_shows_its_last_numbers(
    make_state: Make, inject: Callable
) -> None:
    inject("generator_loss", "loss", range(1, 4))
    state = make_state("run.max_nonfinite=2")
    for _ in range(8):
        iterate(state)
    said = r"3 times in a row, at 0\.048 kimg: loss = nan, gradient norm of generator = nan"
    with pytest.raises(Diverged, match=said):
        turns.check(state)


def test_a_row_goes_on_after_a_checkpoint(make_state: Make, inject: Callable) -> None:
    inject("generator_loss", "gradient", range(1, 9))
    state, resumed = make_state("run.max_nonfinite=2"), make_state("run.max_nonfinite=2")
    for _ in range(3):
        iterate(state)
    tensors, meta = snapshot.capture(state)
    meta = json.loads(json.dumps(meta))
    assert (meta["nonfinite"], meta["skipped"]) == ({"generator": 2}, 2)
    snapshot.restore(resumed, {name: tensor.clone() for name, tensor in tensors.items()}, meta)
    turns.check(resumed)
    for _ in range(2):
        iterate(resumed)
    assert resumed.skipped == 4
    with pytest.raises(Diverged, match=r"turn 'generator' was not finite 4 times in a row, at 0\.064 kimg"):
        turns.check(resumed)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_sick_step_leaves_no_trace_in_an_automatic_weight(
    make_state: Make, inject: Callable, embedding: str, what: str
) -> None:
    inject("generator_loss", what, range(0, 4, 2))
    state, seen = make_state(more=embedding), []
    for _ in range(4):
        iterate(state)
        seen.append(state.balance["embedding"].clone())
    assert seen[0].isnan().all() and torch.equal(seen[1], seen[2])
    assert seen[3].isfinite().all() and not torch.equal(seen[2], seen[3])


def test_skips_with_good_updates_between_them_do_not_end_a_run(make_state: Make, inject: Callable) -> None:
    inject("critic_loss", "gradient", range(0, 10, 2))
    state = make_state("run.max_nonfinite=1")
    for _ in range(10):
        iterate(state)
    turns.check(state)
    assert state.skipped == 5


def run(recipe: Path, *more: str) -> int:
    return main(["run", str(recipe), "--runs", str(recipe.parent / "runs"), *more])


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_skipped_updates_are_in_every_later_row_and_on_the_screen(
    tiny: Callable, inject: Callable, capsys: pytest.CaptureFixture
) -> None:
    inject("generator_loss", "loss", range(4, 6))
    recipe = tiny()
    assert run(recipe, "--set", "run.tick_kimg=0.032") == 0
    ticks = [row for row in rows(recipe.parent / "runs" / "0001-tiny") if row["what"] == "tick"]
    assert [row["skipped"] for row in ticks] == [0, 0, 2, 2, 2]
    assert "loss/generator" not in ticks[2] and "loss/fake_score" in ticks[2]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    head = next(line for line in lines if line[:2] == ["kimg", "img/s"] and "skipped" in line)
    row = lines[lines.index(head) + 1]
    assert row[head.index("skipped")] == "2"


def test_divergence_ends_with_code_4_and_names_the_turn_and_the_last_good_checkpoint(
    tiny: Callable, inject: Callable, capsys: pytest.CaptureFixture
) -> None:
    recipe = tiny()
    folder = recipe.parent / "runs" / "0001-tiny"
    inject("generator_loss", "gradient", range(5, 100))
    assert run(recipe) == 4
    error = capsys.readouterr().err
    assert "turn 'generator' was not finite 4 times in a row" in error
    found = json.loads((folder / "exit.json").read_text())
    assert found["code"] == 4 and found["checkpoint"] in error and found["reason"] in error
    assert str(folder / "checkpoints" / found["checkpoint"]) in error
    assert not (folder / "result").exists()


def test_no_checkpoint_is_written_between_a_divergence_and_the_tick_that_finds_it(
    tiny: Callable, inject: Callable, capsys: pytest.CaptureFixture
) -> None:
    recipe = tiny()
    folder = recipe.parent / "runs" / "0001-tiny"
    inject("generator_loss", "gradient", range(1, 6))
    assert run(recipe, "--set", "run.tick_kimg=1", "--set", "run.checkpoint_kimg=0.064") == 4
    assert "turn 'generator' was not finite 5 times in a row, at 0.08 kimg" in capsys.readouterr().err
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["kimg-000000.064"]


def test_the_same_command_starts_anew_after_a_divergence(
    tiny: Callable, inject: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny()
    real = turns.per_image
    inject("generator_loss", "loss", range(100))
    assert run(recipe) == 4
    monkeypatch.setattr(turns, "per_image", real)
    assert run(recipe) == 0
    assert sorted(path.name for path in (recipe.parent / "runs").glob("0*")) == ["0001-tiny", "0002-tiny"]


def test_a_divergence_before_the_first_checkpoint_says_so(
    tiny: Callable, inject: Callable, capsys: pytest.CaptureFixture
) -> None:
    inject("critic_loss", "loss", range(100))
    assert run(tiny(), "--set", "run.max_nonfinite=0") == 4
    assert "there is no checkpoint yet" in capsys.readouterr().err
