"""A student that takes the scale of guidance as an input and starts from a teacher's weights, which know none."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
import torch
from torch import Tensor

from distillkit.api import GeneratorLoss, Guidance, State, Step, Teacher, frozen, hookimpl
from distillkit.testing import toy_state, toy_step, toys
from distillkit.train.iterate import iterate


# What an author writes: fewer than 30 lines.
class AnyScale(Guidance):
    """Classifier-free, by a scale of each image's own."""

    @frozen(kw_only=True)
    class Config:
        high: float = 4.0  # scales are from 1 to this

    @property
    def scales(self) -> tuple[float, float]:
        return 1.0, self.config.high

    @hookimpl(wrapper=True)
    def teacher_score(
        self, state: State, x: Tensor, sigma: Tensor, labels: Tensor | None
    ) -> Generator[None, Tensor, Tensor]:
        D = yield
        return D if labels is None else state.teacher_score(x, sigma, None).lerp(D, state.teacher_score.scale)


class Guided(GeneratorLoss):
    """Denoise in one call as the guided teacher does in two, at any scale (arXiv:2210.03142)."""

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Teacher) -> Tensor:
        sigma = step.lognormal_sigma(-0.5, 1.0)
        x_sigma = step.real + sigma * step.randn_like(step.real)
        D = teacher_score(x_sigma, sigma, step.labels)  # labels end with the scale
        return (state.generator(x_sigma, sigma, step.labels) - D).square().flatten(1).sum(1)


# Until here.

TABLES = {
    "teacher_score": {"network": {"use": "mlp", "width": 32, "depth": 2}, "guidance": {"use": "toy"}},
    "generator": {"optimizer": {"lr": 3e-3}},
}


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """They are the guidance and the method "toy"."""
    for cls in (AnyScale, Guided):
        monkeypatch.setattr(toys, cls.__name__, cls, raising=False)
        monkeypatch.setitem(toys.TOYS, cls.kind, cls)
    toys.catalog.cache_clear()
    yield
    toys.catalog.cache_clear()


def test_it_begins_as_its_teacher_and_learns_what_the_scale_does() -> None:
    state = toy_state(**TABLES)
    with torch.no_grad():  # labels do next to nothing in a network of small random weights
        for network in (state.teacher.network, state.generator):
            network.hidden[0].weight.mul_(4)
            network.out.weight.mul_(30)
    step = toy_step(state)
    x, sigma, labels = step.real, torch.ones(8, 1, 1, 1), step.labels
    assert labels is not None and labels.shape[1] == 4 and state.generator.label_dim == 4
    weak, strong = (torch.cat([labels[:, :3], torch.full((8, 1), scale)], 1) for scale in (1.0, 4.0))
    with torch.no_grad():
        plain = state.teacher.network(x, sigma, labels[:, :3])
        assert torch.equal(state.generator(x, sigma, strong), plain)
        torch.testing.assert_close(state.teacher_score(x, sigma, weak), plain)
        target = state.teacher_score(x, sigma, strong)
        before = (state.generator(x, sigma, strong) - target).square().mean()
        assert not torch.allclose(target, plain)
    for _ in range(60):
        iterate(state)
    with torch.no_grad():
        after = (state.generator(x, sigma, strong) - target).square().mean()
        assert not torch.allclose(state.generator(x, sigma, strong), state.generator(x, sigma, weak))
    assert after < 0.5 * before


def test_student_and_critic_take_it_beside_weights_that_they_share_with_the_teacher() -> None:
    method = {"generator_loss": {"use": "sid", "lr": 1e-2, "warmup_kimg": 0.0}}
    state = toy_state(**toys.merged(TABLES, {"generator": {"adapter": {"use": "lora", "rank": 2}}}, method))
    teacher = dict(state.teacher.network.named_parameters())
    for network in (state.networks["generator"], state.networks["fake_score"]):
        assert network.label_dim == 4
        own = {name: p for name, p in network.named_parameters() if name not in teacher}
        assert all(p is teacher[name] for name, p in network.named_parameters() if name in teacher)
        assert {name.partition(".")[0] for name in own} >= {"further", "hidden"}
        before = {name: p.clone() for name, p in own.items()}
        iterate(state)
        assert any(not torch.equal(p, before[name]) for name, p in own.items() if name.startswith("further"))
