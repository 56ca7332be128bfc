"""Contracts of a distillation method and of a supplementary term, in the toy world and the real engine."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from distillkit.api import Denoiser, Term
from distillkit.api.curves import of, sentence
from distillkit.testing import toys
from distillkit.testing.component import ComponentContract
from distillkit.testing.ranks import simulated
from distillkit.testing.training import copied, differences, gradients, iterations, losses, moved, run, weights
from distillkit.testing.watch import thawed, waits
from distillkit.train import snapshot, turns
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State


class TrainingContract(ComponentContract):
    """What holds for every component that shapes training."""

    batch_level: ClassVar[str] = ""  # why a micro-batch cannot give the numbers of the whole batch, if it cannot
    unconditional: ClassVar[toys.Tables] = {"dataset": {"label_dim": 0}}  # tables that take the labels away
    waits: ClassVar[dict[str, str]] = {}  # "file.py:function" in which a step has to wait for the device: why

    def variants(self) -> list[toys.Tables]:
        """Further tables under which everything must hold."""
        return [{}]

    def test_what_it_logs_has_a_sentence_on_what_it_means(self) -> None:
        silent: set[str] = set()
        for tables in self.variants():
            state = self.state(**tables)
            told = [of(part) for part in state.components.values()]
            logged = run(state, iterations(state)).records.means()
            silent |= {name for name in logged if sentence(name, *told) is None}
        wrong = (
            f"nobody says what {', '.join(sorted(silent))} mean: put a sentence into {self.choice.cls.__name__}.curves"
        )
        if silent and not of(self.choice.cls):  # as before there were any
            warnings.warn(wrong, DeprecationWarning, stacklevel=1)
            return
        assert not silent, wrong

    def test_some_iterations_are_finite_and_move_the_generator_alone(self) -> None:
        for tables in self.variants():
            state = self.state(**tables)
            before = weights(state)
            run(state, iterations(state))
            after = weights(state)
            assert not state.skipped, f"{state.skipped} updates were not finite"
            assert all(p.isfinite().all() for p in after.values())
            still = [name for name in state.networks if torch.equal(before[name], after[name])]
            assert not still, f"never trained: {', '.join(still)}; let `config` start its turn at once"
            touched = "teacher" in before and not torch.equal(before["teacher"], after["teacher"])
            assert not touched, "the teacher changed"

    def test_it_works_without_labels(self) -> None:
        state = self.state(**self.unconditional)
        assert state.dataset.label_dim == 0, "`unconditional` leaves labels"
        assert not run(state, 2).skipped

    def test_two_runs_from_one_seed_are_the_same_bits(self) -> None:
        for tables in self.variants():
            a, b = self.state(**tables), self.state(**tables)
            torch.manual_seed(1)
            run(a, 3)
            torch.manual_seed(2)
            assert differences(copied(a), copied(run(b, 3))) == []

    def test_another_seed_is_another_run(self) -> None:
        a, b = self.state(), self.state(run={"seed": 1})
        assert not torch.equal(weights(run(a, 2))["generator"], weights(run(b, 2))["generator"])

    def test_a_run_goes_on_from_a_checkpoint_bit_for_bit(self) -> None:
        for tables in self.variants():
            straight, resumed = self.state(**tables), self.state(**tables)
            rest = iterations(straight) - 2
            snapshot.restore(resumed, *copied(run(straight, 2)))
            assert differences(copied(run(resumed, rest)), copied(run(straight, rest))) == []

    def test_a_step_does_not_wait_for_the_device(self) -> None:
        for tables in self.variants():
            state = run(self.state(**tables), 2)
            with waits(self.waits) as found:
                run(state, iterations(state))
            assert not found, f"{', '.join(sorted(set(found)))}; see `waits` of the contract"

    def test_weights_that_do_not_train_want_no_gradients(self) -> None:
        for tables in self.variants():
            state = run(self.state(**tables), 1)
            for turn in state.turns:
                with thawed([p for name in turn.trains for p in state.updaters[name].params]) as found:
                    turns.take(state, turn)
                assert not found, f"turn {turn.name!r}: {', '.join(sorted(set(found)))}"

    def test_micro_batches_give_the_gradient_of_the_whole_batch(self) -> None:
        if self.batch_level:
            pytest.skip(self.batch_level)
        for tables in self.variants():
            double = toys.merged(tables, {"run": {"precision": "fp64"}})
            whole = self.state(**double)
            micro = self.state(**toys.merged(double, {"run": {"micro_batch": max(whole.batch // 4, whole.group)}}))
            snapshot.restore(micro, *copied(run(whole, 2)))
            for (name, a), (_, b) in zip(gradients(whole), gradients(micro), strict=True):
                error = float((a - b).norm() / a.norm().clamp(min=1e-300))
                assert error < 1e-10, f"{name}: gradients differ by {error:g} of their norm"

    def trained(self, tables: toys.Tables, steps: int, ranks: Ranks) -> dict[str, Tensor]:
        """All weights after some iterations of one process of several."""
        return weights(run(self.state(ranks, **tables), steps))

    def test_several_processes_train_the_weights_of_one(self) -> None:
        if toys.device().type != "cpu":
            pytest.skip("the processes are threads here, and autograd has one thread per device for all of them")
        for tables in self.variants():
            double = toys.merged(tables, {"run": {"precision": "fp64"}})
            if self.batch_level:  # a pass is what the recipe says, whoever makes it
                double = toys.merged(double, {"run": {"micro_batch": self.state(**double).batch // 2}})
            alone = self.state(**double)
            steps = iterations(alone)
            want = weights(run(alone, steps))
            found = simulated(2, partial(self.trained, double, steps))
            for name, one in want.items():
                assert torch.equal(found[0][name], found[1][name]), f"{name}: not the same on both"
                error = float((found[0][name] - one).norm() / one.norm().clamp(min=1e-300))
                assert error < 1e-9, f"{name}: {error:g} of its norm apart; see step.mean, step.own, state.rows"


class GeneratorLossContract(TrainingContract):
    """A distillation method: one loss per image, critics that train in their turns, exact resume."""

    kind = "generator_loss"

    def test_every_loss_is_one_finite_number_per_image(self) -> None:
        state = run(self.state(), 1)
        for turn in state.turns:
            for hook, loss in losses(state, turn).items():
                assert loss.shape == (state.batch,), f"{hook} of turn {turn.name!r}: {list(loss.shape)}"
                assert loss.isfinite().all(), f"{hook} of turn {turn.name!r} is not finite"
                assert loss.requires_grad, f"{hook} of turn {turn.name!r} has no gradient"

    def test_a_turn_moves_the_networks_it_trains_and_no_other(self) -> None:
        state = run(self.state(), 1)
        for turn in state.turns:
            assert moved(state, turn) == set(turn.trains), f"turn {turn.name!r}"

    def test_no_gradient_is_left_on_a_network_that_does_not_train(self) -> None:
        state = run(self.state(), 1)
        for turn in state.turns:
            turns.take(state, turn)
            others: dict[str, nn.Module | Denoiser] = {
                name: net for name, net in state.networks.items() if name not in turn.trains
            }
            if state.teacher is not None and state.teacher.network is not None:
                others["teacher"] = state.teacher.network
            for name, net in others.items():
                left = [p for p, weight in net.named_parameters() if weight.grad is not None]
                assert not left, f"turn {turn.name!r} leaves gradients on {left[0]} of {name}"


class AuxiliaryLossContract(TrainingContract):
    """A supplementary term: a scalar whose gradient at x is right for any weight and any micro-batch."""

    kind = "auxiliary_loss"

    def variants(self) -> list[toys.Tables]:
        return [{"auxiliary_loss": [{**self.table, "weight": weight}]} for weight in ("auto", 0.5)]

    def terms(self, state: State, **given: Any) -> tuple[list[Term], Any]:
        """The terms on a whole batch, and its step."""
        turn = next(turn for turn in state.turns if "generator_loss" in turn.losses)
        with turns.training(state, turn):
            step = toys.toy_step(state, turn.name)
            step.__dict__.update(given)
            return state.auxiliaries[0].call(state=state, step=step), step

    def test_a_term_is_a_scalar_with_a_gradient_at_the_images(self) -> None:
        state = self.state()
        terms, step = self.terms(state)
        assert terms, "no term in the first iteration"
        for term in terms:
            assert term.value.shape == () and term.value.isfinite(), f"{term.name} = {term.value}"
            if term.grad is not None:
                assert term.grad.shape == step.x.shape and term.grad.isfinite().all() and term.grad.any(), term.name
                assert not (term.grad.requires_grad or term.value.requires_grad), f"{term.name} keeps a graph"
                continue
            ends = [step.x]
            if term.weight is not None:  # weighted by itself, it may reach the generator past x
                ends += [p.requires_grad_() for p in state.updaters["generator"].params]
            grads = torch.autograd.grad(term.value, ends, retain_graph=True, materialize_grads=True)
            assert all(grad.isfinite().all() for grad in grads)
            assert any(grad.any() for grad in grads), f"{term.name}: no gradient at x"

    def test_no_gradient_reaches_real_images_or_the_teacher(self) -> None:
        state = self.state()
        real = toys.toy_step(state).real.clone().requires_grad_()
        terms, _ = self.terms(state, real=real)
        graphs = [term.value for term in terms if term.grad is None]
        if graphs:
            torch.stack(graphs).sum().backward()
        reached = real.grad is not None and bool(real.grad.any())
        assert not reached, "a gradient at the real images"
        if state.teacher is not None and state.teacher.network is not None:
            assert all(p.grad is None for p in state.teacher.network.parameters())

    def test_an_automatic_weight_balances_the_gradients(self) -> None:
        state = self.state(auxiliary_loss=[{**self.table, "ratio": 0.25}])
        terms, _ = self.terms(state)
        if any(term.weight is not None for term in terms):
            return  # weighted by itself
        found = {name: value for name, value in run(state, 1).records.means().items() if name.startswith("weight/")}
        assert found and all(value > 0 for value in found.values()), f"weights: {found}"
