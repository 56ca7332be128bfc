"""More than one teacher in a run, and what layers of a teacher say: `state.teacher_from`, `state.features`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distillkit.api import (
    Choice,
    Denoise,
    GeneratorLoss,
    InputError,
    State,
    Step,
    Teacher,
    TeacherScore,
    UsageError,
    Use,
    field,
    frozen,
    hookimpl,
)
from distillkit.dry import tried
from distillkit.plan import roles
from distillkit.recipe import choice_from_table
from distillkit.run import smoke
from distillkit.testing import save_network, toy_recipe, toy_state, toy_step, toys
from distillkit.train import compiled, levers, snapshot
from distillkit.train.features import as_written
from distillkit.train.iterate import iterate

MLP = {"use": "mlp", "width": 16, "depth": 2}


# What an author writes: fewer than 30 lines.
class TwoTeachers(GeneratorLoss):
    """Pull images towards what two teachers make of them."""

    @frozen(kw_only=True)
    class Config:
        second: Choice[TeacherScore] = Use("toy")
        share: float = field(default=0.5)

    @hookimpl
    def setup(self, state: State) -> None:
        self.second: Teacher = state.teacher_from(self.config.second)
        self.maps = state.features(self.second)

    @hookimpl
    def generator_loss(self, step: Step, teacher_score: Denoise) -> Tensor:
        sigma = step.lognormal_sigma(-1.2, 1.2)
        x_sigma = step.x + sigma * step.randn_like(step.x)
        D = teacher_score(x_sigma, sigma, step.labels).lerp(self.second(x_sigma, sigma, step.labels), self.config.share)
        return (step.x - D).square().flatten(1).sum(1) + 0 * self.maps(x_sigma, sigma, step.labels)[0].flatten(1).sum(1)


# Until here.


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It is the method "toy"."""
    monkeypatch.setattr(toys, "TwoTeachers", TwoTeachers, raising=False)
    monkeypatch.setitem(toys.TOYS, "generator_loss", TwoTeachers)
    toys.catalog.cache_clear()
    yield
    toys.catalog.cache_clear()


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """The result of a run, another network than the first teacher's."""
    save_network(tmp_path / "second", choice_from_table("network", MLP, toys.catalog(), "here"), toy_state().dataset)
    return str(tmp_path / "second")


def noisy() -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.linspace(0.2, 3.0, 4).view(-1, 1, 1, 1), torch.eye(3)[[0, 1, 2, 0]]


def second(**table: Any) -> dict[str, Any]:
    return {"generator_loss": {"second": {"use": "network", **table}}}


def method(state: Any) -> Any:
    return state.components["generator_loss"]


def test_a_further_teacher_is_frozen_cast_and_asked_like_the_first(saved: str) -> None:
    state = toy_state(**second(checkpoint=saved), run={"precision": "bf16"})
    added, x = method(state).second, noisy()
    assert added.network is not None and added.network is not state.teacher.network
    assert not any(p.requires_grad for p in added.network.parameters()) and not added.network.training
    assert added.network.compute_dtype == torch.bfloat16
    assert torch.equal(added(*x), added.network(*x)) and not torch.equal(added(*x), state.teacher_score(*x))
    assert (added.sigma_min, added.sigma_max) == (added.network.sigma_min, added.network.sigma_max)


def test_a_run_with_two_teachers_trains_and_goes_on_from_its_checkpoint(saved: str) -> None:
    state = toy_state(**second(checkpoint=saved))
    iterate(state)
    tensors, meta = snapshot.capture(state)
    twin = toy_state(**second(checkpoint=saved))
    snapshot.restore(twin, {name: tensor.clone() for name, tensor in tensors.items()}, meta)
    for one in (state, twin):
        iterate(one)
    a, b = (one.generator.state_dict() for one in (state, twin))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_its_guidance_is_its_own_and_the_firsts_is_not(saved: str) -> None:
    guided = {"use": "classifier-free", "scale": 3.0}
    state = toy_state(**second(checkpoint=saved, guidance=guided))
    x, sigma, labels = noisy()
    added = method(state).second
    D, D0 = added.network(x, sigma, labels), added.network(x, sigma, 0 * labels)
    torch.testing.assert_close(added(x, sigma, labels), D0 + 3.0 * (D - D0))
    assert torch.equal(state.teacher_score(x, sigma, labels), state.teacher.network(x, sigma, labels))
    other = toy_state(**second(checkpoint=saved), teacher_score={"guidance": guided})
    assert torch.equal(method(other).second(x, sigma, labels), D)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (
            {"from": "teacher.toml"},
            UsageError,
            r"takes no `from`; write checkpoint = .* of teacher.toml",
        ),
        ({"checkpoint": "nowhere"}, InputError, "nowhere"),
        ({}, UsageError, "checkpoint is missing"),
    ],
)
def test_what_is_wrong_with_it_is_told(table: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        toy_state(**second(**table))


def test_one_for_other_images_is_refused(saved: str) -> None:
    with pytest.raises(UsageError, match=r"teacher_score.1: the network is for 2 channels, 8 px"):
        toy_state(**second(checkpoint=saved), dataset={"channels": 1})


def test_it_is_known_to_levers_plan_and_check(saved: str) -> None:
    recipe = toy_recipe(**second(checkpoint=saved))
    card, untried = tried.tried(recipe, {}, toys.catalog())
    assert card is not None and untried == []
    state = toy_state(**second(checkpoint=saved))
    added = method(state).second.network
    assert added in levers.denoisers(state).values() and added in levers.differentiated(state)
    assert any(role.name == "networks of teacher_score" for role in roles.roles(state, 0))
    lowered = toy_state(**second(checkpoint=saved), run={"teacher_dtype": "bf16"})
    assert next(iter(method(lowered).second.network.state_dict().values())).dtype == torch.bfloat16


def test_a_smoke_run_has_a_stand_in_for_its_file(tmp_path: Path, saved: str) -> None:
    recipe = toy_recipe(**second(checkpoint=saved), dataset={"use": "image-zip", "path": "away.zip"})
    small = smoke.small(recipe, tmp_path, toys.catalog())
    config = small.generator_loss.config.second.config
    assert config.checkpoint != saved and (Path(config.checkpoint) / "student.json").is_file()


# Features.


class Plain(nn.Module):
    """A network without an encoder of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unused = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.b(self.a(x))


def test_features_are_layers_of_the_encoder_by_number() -> None:
    state, (x, sigma, labels) = toy_state(teacher_score={"network": MLP}), noisy()
    maps = state.teacher.network.encoder_features(x, sigma, labels)
    for taps, wanted in [(None, maps), ([0], maps[:1]), ([-1], maps[-1:])]:
        found = state.features(state.teacher_score, taps)(x, sigma, labels)
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_features_are_what_modules_give_by_name_and_no_hook_stays() -> None:
    net, (x, sigma, labels) = Plain(), noisy()
    a, b = toy_state().features(net, ["a", "b"])(x.requires_grad_(), sigma, labels)
    assert torch.equal(a, net.a(x)) and torch.equal(b, net(x, sigma))
    b.sum().backward()
    assert x.grad is not None and x.grad.any() and not net.a._forward_hooks


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (None, "Plain has no encoder_features; name modules, such as a, b, unused"),
        ([0, "a"], "layers by number or modules by name, not both"),
        (["aa"], "Plain has no module 'aa'; it has a"),
        (["unused"], "the module 'unused' of Plain was not called"),
    ],
)
def test_layers_that_there_are_not_are_told(taps: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        toy_state().features(Plain(), taps)(*noisy())


def test_a_number_too_large_is_told() -> None:
    state = toy_state(teacher_score={"network": MLP})
    with pytest.raises(UsageError, match=r"MlpDenoiser has layers 0 \.\.\. 0, not 4"):
        state.features(state.teacher_score, [4])(*noisy())


def test_a_compiled_pass_is_not_asked_for_hooks() -> None:
    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        return wraps(function)(lambda *args: pytest.fail("the compiled pass was asked"))

    net = Plain()
    compiled.wrap(net, False, wrapped)
    x, sigma, labels = noisy()
    assert as_written(net)(x, sigma, labels).shape == x.shape
    assert len(toy_state().features(net, ["a"])(x, sigma, labels)) == 1


def test_step_of_the_method_gives_a_loss_an_image(saved: str) -> None:
    state = toy_state(**second(checkpoint=saved))
    loss = method(state).generator_loss(step=toy_step(state), teacher_score=state.teacher_score)
    assert loss.shape == (8,) and loss.isfinite().all()
