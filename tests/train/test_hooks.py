"""Every hook, asked by the engine itself: when it is called, with what, and what becomes of its answer."""

from __future__ import annotations

import re

import pytest
import torch

from distillkit.api import (
    KINDS,
    AuxiliaryLoss,
    Evaluate,
    GeneratorLoss,
    PluginError,
    Sample,
    TeacherScore,
    Term,
    Turn,
    asked_levels,
    hookimpl,
)
from distillkit.evaluate import evaluation
from distillkit.evaluate.draw import Drawer
from distillkit.show.screen import QuietScreen
from distillkit.testing import toys
from distillkit.train.iterate import iterate


@pytest.fixture
def world(monkeypatch):
    """A toy state in which the given classes are what `use = "toy"` names, by their kind."""

    def build(*classes, **tables):
        for cls in classes:
            monkeypatch.setattr(toys, cls.__name__, cls, raising=False)
            monkeypatch.setitem(toys.TOYS, cls.kind, cls)
        toys.catalog.cache_clear()
        try:
            return toys.toy_state(**tables)
        finally:
            toys.catalog.cache_clear()

    yield build
    toys.catalog.cache_clear()


class Loss(GeneratorLoss):
    """Grey images, and a note of each call."""

    def __init__(self, config):
        super().__init__(config)
        self.calls = []

    @hookimpl
    def generator_loss(self, step, teacher_score):
        self.calls.append((step, teacher_score))
        return step.x.square().flatten(1).sum(1)


def test_hook_setup_finds_generator_and_teacher_and_may_add_networks_and_turns(world):
    class Adding(Loss):
        """Adds a critic and a turn of its own."""

        @hookimpl
        def setup(self, state):
            assert state.generator is state.networks["generator"] and state.teacher.network is not None
            self.critic = state.add_network("fake_score", "teacher")
            state.turns = [Turn(name="only", trains=("generator",), losses=("generator_loss",), every=2)]

    state = world(Adding)
    critic = state.components["generator_loss"].critic
    assert state.networks["fake_score"] is critic and "fake_score" in state.updaters
    for ours, teachers in zip(critic.parameters(), state.teacher.network.parameters(), strict=True):
        assert torch.equal(ours, teachers) and ours is not teachers
    assert [turn.name for turn in state.turns] == ["only"]


def test_hook_sample_turns_noise_and_labels_into_the_images_of_a_step(world):
    class Doubled(Sample):
        """No network at all."""

        given = None

        @hookimpl
        def sample(self, state, z, labels):
            Doubled.given = z, labels
            return 2 * z + 0 * sum(p.sum() for p in state.generator.parameters())

    state = world(Doubled, sample={"use": "toy"})
    x = toys.toy_step(state).x
    z, labels = Doubled.given
    assert torch.equal(x.detach(), 2 * z) and z.shape == (state.batch, *state.dataset.shape)
    assert labels.shape == (state.batch, state.dataset.label_dim)
    assert x.is_leaf and x.requires_grad


def test_asked_levels_are_those_of_a_sampler_of_any_arguments(world):
    class Stepping(Sample):
        """Looks at what a finished student has as well, and at no labels."""

        @hookimpl
        def sample(self, state, z):
            for level in (80.0, 0.7):
                z = state.generator(z, torch.full((len(z), 1, 1, 1), level, dtype=state.dtype, device=state.device))
            return z

    assert asked_levels(world(Stepping, sample={"use": "toy"})) == [80.0, 0.7]


def test_hook_teacher_score_is_what_a_method_calls_and_takes_any_subset_of_the_arguments(world):
    class Half(TeacherScore):
        """Looks at x alone."""

        @hookimpl
        def teacher_score(self, x):
            return x / 2

    network = {"init": "scratch", "network": {"use": "mlp", "width": 8}}
    state = world(Half, Loss, generator=network)
    iterate(state)
    ((_step, teacher_score),) = state.components["generator_loss"].calls
    x = torch.ones(3, *state.dataset.shape)
    assert torch.equal(teacher_score(x, torch.ones(3, 1, 1, 1), None), x / 2)
    assert torch.equal(state.teacher_score(x, torch.ones(3, 1, 1, 1), None), x / 2)


def test_hook_critic_loss_trains_the_critic_on_constant_images_before_the_generator(world):
    class Critic(Loss):
        """One critic that pulls its output to zero."""

        @hookimpl
        def setup(self, state):
            self.critic = state.add_network("critic", "teacher")

        @hookimpl
        def critic_loss(self, step):
            self.calls.append((step, None))
            assert not step.x.requires_grad and self.critic.training
            return self.critic(step.x, torch.ones(step.n, 1, 1, 1), step.labels).square().flatten(1).sum(1)

    state = world(Critic)
    before = [p.clone() for p in state.networks["critic"].parameters()]
    iterate(state)
    assert [step.turn for step, _ in state.components["generator_loss"].calls] == ["critic", "generator"]
    after = state.networks["critic"].parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_hook_generator_loss_is_one_number_per_image(world):
    class Scalar(Loss):
        """A mean over the batch, which is the engine's to take."""

        @hookimpl
        def generator_loss(self, step):
            return step.x.square().mean()

    with pytest.raises(PluginError, match=r"generator_loss returned \[\], expected \[8\]: one loss per image"):
        iterate(world(Scalar))


def test_hook_generator_loss_that_forgets_to_return_is_told_so(world):
    class Forgets(Loss):
        """Computes, and returns nothing."""

        @hookimpl
        def generator_loss(self, step):
            step.x.flatten(1).sum(1)

    with pytest.raises(PluginError, match=r"generator_loss returned NoneType, expected \[8\]: one loss per image"):
        iterate(world(Forgets))


@pytest.mark.parametrize(
    ("turn", "told"),
    [(Turn(name="a", trains=("nobody",)), "turn 'a': trains has 'nobody'; those here: generator"),
     (Turn(name="a", trains=("generator",), losses=("loss",)),
      "turn 'a': losses has 'loss'; those here: critic_loss, generator_loss")],
)  # fmt: skip
def test_a_turn_that_nobody_can_take_is_refused_before_it_trains(world, turn, told):
    class Declares(Loss):
        """Declares that turn."""

        @hookimpl
        def setup(self, state):
            state.turns = [turn]

    with pytest.raises(PluginError, match=re.escape(told)):
        world(Declares)


def test_hook_generator_loss_reaches_the_generator_by_its_gradient_at_the_images(world):
    class Ones(Loss):
        """Has the gradient 1 at every pixel."""

        @hookimpl
        def generator_loss(self, step):
            self.calls.append((step, None))
            return step.x.flatten(1).sum(1)

    state = world(Ones)
    before = [p.clone() for p in state.generator.parameters()]
    iterate(state)
    ((step, _),) = state.components["generator_loss"].calls
    assert torch.allclose(step.x.grad, torch.full_like(step.x, 1 / state.batch))
    assert any(not torch.equal(a, b) for a, b in zip(before, state.generator.parameters(), strict=True))


def test_hook_auxiliary_loss_gives_a_term_on_the_whole_batch_or_none(world):
    class Sometimes(AuxiliaryLoss):
        """Acts in the first iteration only."""

        @hookimpl
        def auxiliary_loss(self, state, step):
            assert len(step.x) == state.batch  # whatever the micro-batch
            return Term("mean", step.x.mean(0).square().sum()) if state.iteration == 0 else None

    state = world(Sometimes, auxiliary_loss=[{"use": "toy", "ratio": 0.25}], run={"micro_batch": 2})
    iterate(state)
    first = state.records.means()
    state.records.clear()
    iterate(state)
    assert first["weight/toy"] > 0 and first["loss/toy"] > 0
    assert "loss/toy" not in state.records.means()


def test_hook_evaluate_draws_images_that_depend_on_seed_and_number_alone(world):
    class Metric(Evaluate):
        """Draws, and counts."""

        @hookimpl
        def evaluate(self, state, draw):
            few, many, other = draw(2, seed=1), draw(5, seed=1), draw(2, seed=2)
            assert torch.allclose(few.x, many.x[:2], atol=1e-6) and not torch.allclose(few.x, other.x)
            assert many.labels.argmax(1).tolist() == [0, 1, 2, 0, 1] and draw.nfe == 1
            return {"count": len(many.x), "mean": few.x.mean().item()}

    state = world(Metric, evaluate=[{"use": "toy"}])
    found = evaluation.evaluate(Drawer.student(state), state.evaluators, QuietScreen())
    assert found["toy/count"] == 5.0 and set(found) == {"toy/count", "toy/mean"}


def test_hook_after_step_is_called_once_per_iteration_when_turns_and_average_are_done(world):
    class Watching(Loss):
        """Keeps what it saw."""

        @hookimpl
        def after_step(self, state):
            self.calls.append((state.iteration, state.nimg, [p.clone() for p in state.ema.parameters()]))

    state = world(Watching, generator={"ema": "none"})
    iterate(state)
    iterate(state)
    seen = [call for call in state.components["generator_loss"].calls if len(call) == 3]
    assert [(iteration, nimg) for iteration, nimg, _ in seen] == [(0, 0), (1, state.batch)]  # counted afterwards
    for average, weights in zip(seen[-1][2], state.networks["generator"].parameters(), strict=True):
        assert torch.equal(average, weights)  # with ema = "none" they are the same


def test_hook_wrappers_see_every_answer_of_another_component(world):
    class Guiding(Loss):
        """Doubles what the teacher says."""

        @hookimpl(wrapper=True)
        def teacher_score(self, x):
            return 2 * (yield)

    state = world(Guiding)
    x, sigma, labels = torch.ones(2, *state.dataset.shape), torch.ones(2, 1, 1, 1), torch.eye(3)[:2]
    plain = state.teacher.teacher_score(x=x, sigma=sigma, labels=labels)
    assert torch.equal(state.teacher_score(x, sigma, labels), 2 * plain)


@pytest.mark.parametrize("kind", ["auxiliary_loss", "evaluate", "guidance"])
def test_a_component_without_the_hook_of_its_kind_is_refused(world, kind):
    class Idle(KINDS[kind]):
        """It would do nothing."""

        @hookimpl
        def after_step(self, state):
            pass

    place = {"auxiliary_loss": "auxiliary_loss[0]", "evaluate": "evaluate[0]", "guidance": "teacher_score.guidance"}
    tables = {"teacher_score": {"guidance": {"use": "toy"}}} if kind == "guidance" else {kind: [{"use": "toy"}]}
    hook = "teacher_score" if kind == "guidance" else kind
    told = rf"^{re.escape(place[kind])}: .*Idle has no hook '{hook}': a method of that name with @hookimpl"
    with pytest.raises(PluginError, match=told):
        world(Idle, **tables)
