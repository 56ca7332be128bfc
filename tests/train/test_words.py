"""Words as labels: what steps, pictures, ranks and resumed runs make of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distillkit.api import Layout
from distillkit.evaluate import evaluation, health
from distillkit.evaluate.draw import Drawer
from distillkit.images.pictures import told_apart
from distillkit.seeds import inputs
from distillkit.testing import toy_state, toy_step
from distillkit.testing.ranks import simulated
from distillkit.testing.training import copied, differences, run, weights
from distillkit.train import snapshot
from distillkit.train.ranks.group import Group
from distillkit.train.state import State

WORDS: dict[str, Any] = {"tokens": 3, "resolution": 4}
LAYOUT = Layout(tokens=3, width=4, pooled=2)


def words_state(ranks: Group | None = None, **tables: Any) -> State:
    return toy_state(ranks, dataset=WORDS, **tables)


def test_every_network_is_made_for_rows_of_words() -> None:
    state = words_state(generator_loss={"use": "sid"})
    sizes = {network.label_dim for network in (state.generator, state.networks["fake_score"], state.teacher.network)}
    assert sizes == {LAYOUT.size} and state.layout == LAYOUT


def test_a_step_holds_the_words_of_its_images() -> None:
    state = words_state()
    step = toy_step(state)
    asked = LAYOUT.unpack(step.labels)
    assert torch.equal(asked.mask.sum(1), 3 - (step.index % 3).float())
    assert step.real_labels is step.labels


def test_prompts_take_turns_and_name_the_columns() -> None:
    state = words_state()
    prompts = state.dataset.prompts
    _, labels = inputs([0, 1, 2, 3, 50_004], None, state.dataset)
    assert torch.equal(labels, prompts.rows[torch.tensor([0, 1, 2, 0, 1])])
    assert evaluation.column_names(state) == ["0", "1", "2"]
    real = evaluation.real_images(state, 4)
    assert torch.equal(real, state.dataset.images(torch.tensor([0, 1, 2, 3])))


def test_random_prompts_are_those_of_the_seeds() -> None:
    state = words_state()
    rows = state.dataset.prompts.rows.tolist()
    _, labels = inputs(list(range(40)), "random", state.dataset)
    assert {rows.index(row) for row in labels.tolist()} == {0, 1, 2}
    assert torch.equal(inputs([7], "random", state.dataset)[1][0], labels[7])


def test_columns_lose_the_words_that_all_of_them_begin_with() -> None:
    assert told_apart(["a small five", "a small six"]) == ["five", "six"]
    assert told_apart(["a five", "a five"]) == ["five", "five"]
    assert told_apart(["red", "red cat"]) == ["red", "red cat"]


def test_health_knows_images_of_equal_words_as_one_class() -> None:
    rows = words_state().dataset.prompts.rows[:2]
    x = torch.tensor([0.0, 1.0, 10.0, 11.0]).view(4, 1, 1, 1)
    by_words, by_class = (health.Spread.of(x, labels.repeat_interleave(2, 0)) for labels in (rows, torch.eye(2)))
    assert by_words == by_class and by_words.within == pytest.approx(0.5)


def test_two_ranks_train_the_weights_of_one() -> None:
    tables = {"run": {"precision": "fp64"}, "generator_loss": {"use": "sid"}}

    def rank(ranks: Group) -> dict[str, torch.Tensor]:
        return weights(run(words_state(ranks, **tables), 2))

    alone, shared = weights(run(words_state(None, **tables), 2)), simulated(2, rank)[0]
    assert {name for name in alone if not torch.allclose(alone[name], shared[name], rtol=1e-9, atol=1e-12)} == set()


def test_two_ranks_draw_the_prompts_of_one() -> None:
    state = words_state()
    drawn = Drawer.student(state)(5)
    assert torch.equal(drawn.labels, state.dataset.prompts.rows[torch.arange(5) % 3])


def test_a_resumed_run_goes_on_to_the_same_bits() -> None:
    whole = copied(run(words_state(), 4))
    tensors, meta = copied(run(words_state(), 2))
    again = words_state()
    snapshot.restore(again, tensors, meta)
    assert differences(whole, copied(run(again, 2))) == []
