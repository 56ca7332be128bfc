"""Guidance wraps any teacher: the formulas, what reaches whom, and the recipe's table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distillkit.api import UsageError
from distillkit.recipe import choice_from_table, choices, read, to_toml
from distillkit.testing import save_network, toy_recipe, toy_state, toy_step
from distillkit.testing.toys import catalog
from distillkit.train.build import build


def guided(**guidance: Any) -> Any:
    return toy_state(teacher_score={"guidance": guidance})


def noisy(state: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.randn(4, *state.dataset.shape, generator=torch.Generator().manual_seed(0))
    return x, torch.linspace(0.2, 3.0, 4).view(-1, 1, 1, 1), torch.eye(state.dataset.label_dim)[[0, 1, 2, 0]]


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_classifier_free_goes_from_the_unconditional_through_the_conditional(scale: float) -> None:
    state = guided(use="classifier-free", scale=scale)
    x, sigma, labels = noisy(state)
    D, D0 = state.teacher.network(x, sigma, labels), state.teacher.network(x, sigma, torch.zeros_like(labels))
    torch.testing.assert_close(state.teacher_score(x, sigma, labels), D0 + scale * (D - D0))
    torch.testing.assert_close(state.teacher_score(x, sigma, None), D0)


def test_classifier_free_needs_labels() -> None:
    with pytest.raises(UsageError, match="needs labels"):
        toy_state(teacher_score={"guidance": {"use": "classifier-free"}}, dataset={"label_dim": 0})


@pytest.fixture
def weak(tmp_path: Path) -> str:
    choice = choice_from_table("network", {"use": "mlp", "width": 8, "depth": 1}, catalog(), where="weak")
    save_network(tmp_path / "weak", choice, toy_state().dataset)
    return str(tmp_path / "weak")


def test_autoguidance_goes_from_the_guide_through_the_teacher(weak: str) -> None:
    state = guided(use="autoguidance", guide=weak, scale=2.0)
    x, sigma, labels = noisy(state)
    D, D_guide = state.teacher.network(x, sigma, labels), state.load_network(weak)(x, sigma, labels)
    torch.testing.assert_close(state.teacher_score(x, sigma, labels), 2 * D - D_guide)


def test_a_guide_for_other_images_is_refused(weak: str) -> None:
    with pytest.raises(UsageError, match=r"guide .* is for 2 channels, 8 px, 3 labels; the data set has 2 channels, 8"):
        toy_state(teacher_score={"guidance": {"use": "autoguidance", "guide": weak}}, dataset={"label_dim": 0})


def test_a_method_sees_the_guided_teacher() -> None:
    plain, state = (
        toy_state(generator_loss={"use": "sid"}),
        toy_state(generator_loss={"use": "sid"}, teacher_score={"guidance": {"use": "classifier-free", "scale": 3.0}}),
    )
    losses = []
    for one in (plain, state):
        step = toy_step(one)
        losses.append(one.hook.generator_loss(state=one, step=step, teacher_score=one.teacher_score))
    assert not torch.allclose(*losses)


def test_guidance_is_written_back_and_counts_among_the_choices(tmp_path: Path) -> None:
    recipe = toy_recipe(teacher_score={"guidance": {"use": "classifier-free", "scale": 3.0}})
    assert ("guidance", "classifier-free") in {(choice.kind, choice.name) for choice in choices(recipe)}
    path = tmp_path / "again.toml"
    path.write_text(to_toml(recipe))
    again = read(path, catalog=catalog())
    assert again.teacher_score.slot.guidance == recipe.teacher_score.slot.guidance
    assert "teacher_score.guidance" in build(again, catalog()).components
