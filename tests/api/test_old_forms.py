"""What was documented in 0.1.0 works for one release, and says its new form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit.api import AuxiliaryLoss, GeneratorLoss, Optimizer, State, Step, Turn, hookimpl
from distillkit.testing import toy_state, toy_step
from distillkit.testing.training import run

MIGRATE = (Path(__file__).parents[2] / "docs" / "migrate.md").read_text(encoding="utf-8")


def test_add_critic_is_add_network() -> None:
    state = toy_state()
    with pytest.warns(DeprecationWarning, match=r"write state.add_network\(name, start, optimizer\)"):
        critic = state.add_critic("critic", init="generator", optimizer=Optimizer(lr=1.0))
    assert state.networks["critic"] is critic and state.settings["critic"].lr == 1.0
    with pytest.warns(DeprecationWarning, match="add_critic"):
        state.add_critic("another")


def test_a_network_of_ones_own_may_be_named_by_the_old_keyword() -> None:
    state, module = toy_state(), torch.nn.Linear(1, 1)
    with pytest.warns(DeprecationWarning, match="network="):
        assert state.add_network("head", network=module, optimizer=Optimizer()) is module


def test_a_warning_names_the_line_that_is_to_be_changed() -> None:
    with pytest.warns(DeprecationWarning, match="add_critic") as told:
        toy_state().add_critic("critic")
    assert [one.filename for one in told] == [__file__]


def test_host_labels_are_labels_cpu() -> None:
    step = toy_step(toy_state())
    with pytest.warns(DeprecationWarning, match=r"step.host_labels goes with .*: write step.labels_cpu"):
        assert step.host_labels is step.labels_cpu


def test_the_hook_itself_may_be_asked() -> None:
    state = toy_state()
    x, sigma = torch.ones(2, *state.dataset.shape), torch.ones(2, 1, 1, 1)
    assert torch.equal(
        state.hook.teacher_score(state=state, x=x, sigma=sigma, labels=None), state.teacher_score(x, sigma)
    )


class Judge(AuxiliaryLoss):
    """A term with a turn of its own, as 0.1.0 had it written."""

    @hookimpl
    def setup(self, state: State) -> None:
        self.asked: list[str] = []
        state.add_network("judge", torch.nn.Linear(1, 1), Optimizer())
        state.turns.append(Turn(name="judge", trains=("judge",)))

    @hookimpl(tryfirst=True)
    def critic_loss(self, state: State, step: Step) -> Tensor | None:
        if step.turn != "judge":
            return None
        self.asked.append(step.turn)
        return state.networks["judge"](step.x.flatten(1).mean(1, keepdim=True)).square()[:, 0]

    @hookimpl
    def auxiliary_loss(self) -> None:
        return None


def test_a_term_may_answer_for_its_turn_first_and_with_none_for_others(make_state: Any, toy: Any) -> None:
    with pytest.warns(DeprecationWarning, match=r"tryfirst=True\) on critic_loss of .*Judge goes .*: write Turn\("):
        state = make_state(auxiliary_loss=(toy(Judge),))
    assert [turn.name for turn in state.turns] == ["fake_score", "generator", "judge"]
    assert not run(state, 2).skipped
    assert state.components["auxiliary_loss.0"].asked == ["judge", "judge"]


def test_a_turn_may_be_made_and_read_by_its_old_names() -> None:
    with pytest.warns(DeprecationWarning, match=r"write Turn\(") as told:
        turn = Turn(name="critic", trains=("critic",), after_kimg=2.0, images_of="generator")  # type: ignore[call-arg]
    assert turn == Turn(name="critic", trains=("critic",), start_kimg=2.0, same_images_as="generator")
    assert (turn.after_kimg, turn.images_of) == (2.0, "generator")  # type: ignore[attr-defined]
    assert {one.filename for one in told} == {__file__}
    assert sorted(str(one.message).split(": ")[1].split(" (docs")[0] for one in told) == [
        "write Turn(same_images_as=...)", "write Turn(start_kimg=...)"
    ]  # fmt: skip


class OfOldName(GeneratorLoss):
    """Sets a key of the network as 0.1.0 had it written."""

    @property
    def student(self) -> dict[str, Any]:
        return {"sigma_data": 0.25}

    @hookimpl
    def generator_loss(self, step: Step) -> Tensor:
        return step.x.flatten(1).sum(1)


def test_the_keys_of_the_network_may_be_the_property_student(make_state: Any, toy: Any) -> None:
    with pytest.warns(DeprecationWarning, match=r"OfOldName.student goes .*: write the property network_keys"):
        state = make_state(generator_loss=toy(OfOldName))
    assert state.generator.card["network"]["sigma_data"] == 0.25


@pytest.mark.parametrize(
    "old",
    [
        "@hookimpl(tryfirst=True)",
        "images_of",
        "after_kimg",
        "GeneratorLoss.student",
        "state.add_critic(",
        "network=",
        "step.host_labels",
        "distillkit.engine",
        "state.hook.teacher_score(",
    ],
)
def test_the_page_for_migrating_lists_it(old: str) -> None:
    assert old in MIGRATE
