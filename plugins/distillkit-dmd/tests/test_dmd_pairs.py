"""Stored pairs and the regression on them: made once, found again, never half; distances; who gets the gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from distillkit_dmd import pairs as stored
from distillkit_dmd.regression import Regression
from torch import Tensor, nn

from distillkit.api import Choice
from distillkit.testing import toy_state, toy_step
from distillkit.train import turns
from distillkit.train.iterate import iterate
from distillkit.train.state import State


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path))
    monkeypatch.setattr(stored, "SHARD", 16)
    return tmp_path / "pairs"


def state(**table: Any) -> State:
    table = {"use": "regression", "pairs": 40, "sampler": {"use": "heun", "steps": 3}, **table}
    return toy_state(auxiliary_loss=[table])


def regression(state: State) -> Any:
    return state.components["auxiliary_loss.0"]


def shards(home: Path) -> list[Path]:
    return sorted(home.glob("*/*.safetensors"))


def test_a_pair_is_a_noise_and_the_teachers_image_of_it(home: Path) -> None:
    part = regression(state())
    index = torch.tensor([3, 39, 17])
    found = part.pairs[index]
    assert found["z"].shape == found["y"].shape == (3, 2, 8, 8) and found["labels"].shape == (3, 3)
    assert (found["labels"].sum(1) == 1).all()
    world = toy_state()
    heun = part.config.sampler.build()
    with world.generating(world.teacher.network), torch.no_grad():
        y = heun.sample(state=world, z=found["z"], labels=found["labels"])
    torch.testing.assert_close(found["y"], y)


def test_pairs_are_made_once_and_found_again_by_their_fingerprint(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state()
    made = {path: path.stat().st_mtime_ns for path in shards(home)}
    assert len(made) == 3
    state(batch=4)
    assert {path: path.stat().st_mtime_ns for path in shards(home)} == made
    state(pairs=50)  # one shard more, the others stay
    assert len(shards(home)) == 4 and made.items() <= {p: p.stat().st_mtime_ns for p in shards(home)}.items()
    state(seed=1)
    state(sampler={"use": "heun", "steps": 2})
    assert len(list(home.iterdir())) == 3


def test_another_teacher_has_other_pairs(home: Path) -> None:
    state()
    toy_state(
        auxiliary_loss=[{"use": "regression", "pairs": 16, "sampler": {"use": "heun", "steps": 3}}],
        teacher_score={"network": {"use": "mlp", "width": 17, "depth": 1}},
    )
    assert len(list(home.iterdir())) == 2


def test_making_pairs_goes_on_where_it_was_killed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = stored.write, []

    def dies(path: Path, pairs: dict[str, Tensor]) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(path)
        write(path, pairs)

    monkeypatch.setattr(stored, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        state()
    assert len(shards(home)) == 2
    monkeypatch.setattr(stored, "write", write)
    resumed = regression(state()).pairs[torch.arange(40)]
    for path in shards(home):
        path.unlink()
    straight = regression(state()).pairs[torch.arange(40)]
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


def test_a_shard_in_the_place_of_another_is_told_and_made_again(home: Path) -> None:
    state()
    one, two, *_ = shards(home)
    before = two.read_bytes()
    two.write_bytes(one.read_bytes())
    with pytest.warns(UserWarning, match=r"00000016.safetensors: damaged .*; made again"):
        state()
    assert two.read_bytes() == before


@pytest.mark.parametrize("damage", [b"{}", None, "bit"], ids=["no shard", "a folder", "one bit"])
def test_a_damaged_shard_is_told_and_made_again(home: Path, damage: bytes | str | None) -> None:
    state()
    path = shards(home)[1]
    before = bytearray(path.read_bytes())
    if damage is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(damage if damage != "bit" else bytes([*before[:-1], before[-1] ^ 1]))
    with pytest.warns(UserWarning, match=r"00000016.safetensors: damaged .*; made again"):
        state()
    assert path.read_bytes() == before


def test_pairs_do_not_depend_on_the_micro_batch(home: Path) -> None:
    one = regression(state()).pairs[torch.arange(40)]["y"]
    for path in shards(home):
        path.unlink()
    table = {"use": "regression", "pairs": 40, "sampler": {"use": "heun", "steps": 3}}
    other = regression(toy_state(auxiliary_loss=[table], run={"micro_batch": 2})).pairs[torch.arange(40)]["y"]
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x.flatten(1)


class HalfChoice:
    def module(self, resolution: int, channels: int, seed: int) -> Any:
        return Half()


@pytest.mark.parametrize(
    ("distance", "value"), [("l2", 0.25), ("l1", 0.5), ("huber", (0.25 * 128 + 0.09) ** 0.5 - 0.3), ("lpips", 8.0)]
)
def test_distances_by_hand(distance: str, value: float) -> None:
    features = Choice("embedding", "half", HalfChoice, None) if distance == "lpips" else None
    part = Regression(Regression.Config(distance=distance, huber_c=0.3, features=features))
    part.phi = Half()
    x = torch.full((3, 2, 8, 8), 0.25)
    torch.testing.assert_close(part.distance(x, x - 0.5), torch.full((3,), value))
    assert part.distance(x, x).abs().max() < 1e-6


def test_lpips_in_parts_is_the_same_number_and_gradient() -> None:
    part = Regression(
        Regression.Config(distance="lpips", features=Choice("embedding", "half", HalfChoice, None), pairs=8)
    )
    part.phi, found = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten()).requires_grad_(False), {}
    for at_once in (5, 2):
        x = torch.linspace(-1, 1, 640).view(5, 2, 8, 8).requires_grad_()
        value = part.in_parts(x, x.detach().flip(0), at_once)
        value.mean().backward()
        found[at_once] = value.detach(), x.grad
    for whole, parts in zip(found[5], found[2], strict=True):
        torch.testing.assert_close(whole, parts)


def test_lpips_wants_features_and_features_want_lpips() -> None:
    for table in ({"distance": "lpips"}, {"features": Choice("embedding", "half", HalfChoice, None)}):
        with pytest.raises(ValueError, match="'features' goes with"):
            Regression.Config(**table)


def test_the_weight_is_lambda_reg_unless_the_recipe_says_otherwise(home: Path) -> None:
    found = {}
    for weight in ("auto", 0.25, 0.5):
        world = state(weight=weight)
        turns.take(world, world.turns[-1])
        found[weight] = torch.cat([p.detach().flatten() for p in world.networks["generator"].parameters()])
    assert torch.equal(found["auto"], found[0.25]) and not torch.equal(found["auto"], found[0.5])


def test_the_gradient_is_that_of_the_pairs_in_a_plain_loop(home: Path) -> None:
    world = state(weight=1.0, batch=4)
    generator, found = world.networks["generator"], {}
    updater = world.updaters["generator"]
    updater.step = lambda nimg, total, bad: found.update(grad=[p.grad.clone() for p in updater.params])
    turns.take(world, world.turns[-1])
    generator.requires_grad_(True)
    loss = regression(world).auxiliary_loss(world, toy_step(world)).value
    host = toy_step(world)
    host.x = host.sample()
    total = loss + host.x.square().flatten(1).sum(1).mean()
    expected = torch.autograd.grad(total, updater.params)
    for ours, theirs in zip(found["grad"], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_regression_brings_the_student_to_the_teachers_images(home: Path) -> None:
    world = state(weight=1e4, batch=40)  # the host pulls to grey, a little
    first = float(regression(world).auxiliary_loss(world, toy_step(world)).value.detach())
    for _ in range(30):
        iterate(world)
    assert float(regression(world).auxiliary_loss(world, toy_step(world)).value.detach()) < first
