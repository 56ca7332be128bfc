"""A range of guidance scales: each image has its own, which student and critics see and the teacher is guided by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit.api import Layout, UsageError
from distillkit.evaluate.draw import Drawer
from distillkit.networks.asked import Asking
from distillkit.testing import toy_state, toy_step
from distillkit.testing.ranks import simulated
from distillkit.testing.training import run, weights
from distillkit.train.ranks.group import Group
from distillkit.train.state import State

SCRATCH = {"init": "scratch", "network": {"use": "mlp", "width": 16, "depth": 1}}


def ranged(ranks: Group | None = None, scale: Any = (1.0, 4.0), dataset: Any = None, **tables: Any) -> State:
    guidance = {"use": "classifier-free", "scale": list(scale), **tables.pop("guidance", {})}
    tables = {"generator": SCRATCH, "dataset": dataset or {"resolution": 4}, **tables}
    return toy_state(ranks, teacher_score={"guidance": guidance}, **tables)


def asked(**keys: Any) -> State:
    """The toy state with classifier-free guidance of these keys."""
    return toy_state(teacher_score={"guidance": {"use": "classifier-free", **keys}}, dataset={"resolution": 4})


def noisy(state: State, n: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(n, *state.dataset.shape, generator=torch.Generator().manual_seed(0))
    labels = state.dataset.labels(torch.arange(n))
    assert labels is not None
    return x, torch.linspace(0.2, 3.0, n).view(-1, 1, 1, 1), labels


def both(state: State, x: Tensor, sigma: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher with and without its labels."""
    net = state.teacher.network
    return net(x, sigma, labels), net(x, sigma, torch.zeros_like(labels))


def test_each_image_has_a_scale_of_its_own() -> None:
    state = ranged()
    assert state.layout == Layout(classes=3, guidance=True)
    assert (state.generator.label_dim, state.teacher.network.label_dim) == (4, 3)
    labels = toy_step(state).labels
    scale = labels[:, -1]
    assert labels.shape == (8, 4) and 1 <= scale.min() and scale.max() <= 4 and len(scale.unique()) == 8
    assert torch.equal(labels[:, :-1].sum(1), torch.ones(8))


def test_a_scale_is_a_function_of_seed_and_row() -> None:
    state = ranged()
    whole, part = toy_step(state), toy_step(state, first=3, n=2)
    assert torch.equal(whole.labels[3:5], part.labels)
    state.nimg += 8
    assert not torch.equal(toy_step(state).labels[:, -1], whole.labels[:, -1])


def test_the_teacher_is_guided_by_the_scale_of_each_image() -> None:
    state = ranged()
    x, sigma, labels = noisy(state)
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0])
    D, D0 = both(state, x, sigma, labels)
    found = state.teacher_score(x, sigma, torch.cat([labels, scale[:, None]], 1))
    torch.testing.assert_close(found, D0 + scale.view(-1, 1, 1, 1) * (D - D0))
    assert state.guidance_scale is None
    torch.testing.assert_close(state.teacher_score(x, sigma, labels), D0 + 2.5 * (D - D0))


def test_noise_levels_outside_of_the_interval_are_not_guided() -> None:
    state = asked(scale=3.0, sigma_low=0.5, sigma_high=2.5)
    x, sigma, labels = noisy(state)
    D, D0 = both(state, x, sigma, labels)
    scale = torch.where((sigma > 0.5) & (sigma <= 2.5), 3.0, 1.0)
    assert scale.flatten().tolist() == [1.0, 3.0, 3.0, 1.0]
    torch.testing.assert_close(state.teacher_score(x, sigma, labels), D0 + scale * (D - D0))


def test_a_negative_class_is_what_the_teacher_is_guided_away_from() -> None:
    state = asked(scale=2.0, negative="1")
    x, sigma, labels = noisy(state)
    D, away = both(state, x, sigma, labels)[0], state.teacher.network(x, sigma, torch.eye(3)[[1] * 4])
    torch.testing.assert_close(state.teacher_score(x, sigma, labels), away + 2 * (D - away))


def test_a_negative_prompt_of_the_data_set_needs_no_text_encoder() -> None:
    words = {"resolution": 4, "tokens": 2}
    guidance = {"use": "classifier-free", "scale": 2.0, "negative": "a small 2"}
    state = toy_state(dataset=words, teacher_score={"guidance": guidance})
    x, sigma, labels = noisy(state)
    away = state.teacher.network(x, sigma, state.dataset.prompts.rows[[2] * 4])
    D = state.teacher.network(x, sigma, labels)
    torch.testing.assert_close(state.teacher_score(x, sigma, labels), away + 2 * (D - away))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"negative": "blurry"}, "'blurry' is no class of the data set; those here: 0, 1, 2"),
        ({"sigma_low": 2.0, "sigma_high": 1.0}, "sigma_low = 2 is not below sigma_high"),
        ({"sample_scale": 2.0}, "sample_scale = 2 is not in a range"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        asked(**keys)


def test_a_negative_prompt_that_nobody_knows_needs_the_text_encoder() -> None:
    guidance = {"use": "classifier-free", "negative": "blurry"}
    with pytest.raises(UsageError, match="'blurry' is none of the known prompts, and needs the text encoder"):
        toy_state(dataset={"resolution": 4, "tokens": 2}, teacher_score={"guidance": guidance})


def test_pictures_and_metrics_are_of_the_usual_scale() -> None:
    state = ranged(guidance={"sample_scale": 2.0})
    seen: list[Tensor] = []
    real = state.hook.sample

    class Hook:
        def sample(self, state: State, z: Tensor, labels: Tensor) -> Tensor:
            seen.append(labels)
            return real(state=state, z=z, labels=labels)

    state.hook, hook = Hook(), state.hook
    drawn = Drawer.student(state)(4)
    state.hook = hook
    assert seen[0][:, -1].tolist() == [2.0] * 4 and drawn.labels.shape == (4, 3)


def test_a_card_tells_the_scales_and_a_student_asks_within_them() -> None:
    state = ranged(guidance={"sample_scale": 2.0})
    asking = Asking.of(state.dataset, state.layout, state.guidance)
    assert asking.facts()["guidance"] == {"low": 1.0, "high": 4.0, "usual": 2.0}
    labels = torch.eye(3)
    assert asking.scaled(labels)[:, -1].tolist() == [2.0] * 3 and asking.scaled(labels, 4.0)[0, -1] == 4
    with pytest.raises(UsageError, match=r"guidance: 5 is not within 1 \.\.\. 4"):
        asking.scaled(labels, 5.0)


def test_two_ranks_train_the_weights_of_one() -> None:
    tables = {"run": {"precision": "fp64"}}

    def rank(ranks: Group) -> dict[str, Tensor]:
        return weights(run(ranged(ranks, **tables), 2))

    alone, shared = weights(run(ranged(**tables), 2)), simulated(2, rank)[0]
    assert {name for name in alone if not torch.allclose(alone[name], shared[name], rtol=1e-9, atol=1e-12)} == set()


def test_student_and_fake_score_take_the_scale_with_the_teachers_weights() -> None:
    state = ranged(generator={"init": "teacher"}, generator_loss={"use": "sid"})
    fake = state.networks["fake_score"]
    assert state.generator.label_dim == fake.label_dim == 4
    x, sigma, labels = noisy(state)
    asked_for = torch.cat([labels, torch.tensor([[1.0], [2.0], [3.0], [4.0]])], 1)
    D = state.teacher.network(x, sigma, labels)
    for network in (state.generator, fake):
        torch.testing.assert_close(network(x, sigma, asked_for), D)
    assert not run(state, 3).skipped
    other = torch.cat([labels, torch.full((4, 1), 2.5)], 1)
    assert not torch.equal(state.generator(x, sigma, asked_for), state.generator(x, sigma, other))
