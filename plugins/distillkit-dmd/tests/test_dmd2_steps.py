"""DMD2 with several steps: what any method must do, and the steps of the sampler that the student will draw by."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from torch import Tensor

from distillkit.api import GeneratorLoss, UsageError
from distillkit.testing import GeneratorLossContract, toy_state
from distillkit.testing.toys import toy_step
from distillkit.train.state import State

FEW = {"use": "few-step", "sigmas": [80.0, 10.0, 2.0, 0.4], "sigma_min": 0.0, "clamp": False}
NO_GAN: dict[str, Any] = {"gan": False, "lr": 1e-3, "warmup_kimg": 0.0, "dfake_gen_update_ratio": 2}


def started(**keys: Any) -> State:
    return toy_state(generator_loss={"use": "dmd2", **NO_GAN, **keys}, sample=FEW)


def test_the_steps_are_the_samplers() -> None:
    method: Any = started(rollout="noise").components["generator_loss"]
    assert isinstance(method, GeneratorLoss) and method.rollout is not None
    assert method.rollout.sigmas == (80.0, 10.0, 2.0, 0.4) and method.rollout.drawn == "batch"


def test_the_first_step_is_that_of_the_sampler_with_one() -> None:
    """An iteration that draws the first step trains on what a single jump makes."""
    state, one = (
        started(rollout="noise"),
        toy_state(generator_loss={"use": "dmd2", **NO_GAN}, sample={**FEW, "sigmas": [80.0]}),
    )
    calls: list[Tensor] = []
    state.generator.register_forward_hook(lambda net, given, D: calls.append(D))  # type: ignore[attr-defined]
    for i in range(80):
        calls.clear()
        state.nimg = i * state.batch
        x = toy_step(state).x
        if len(calls) == 1:
            break
    one.nimg = state.nimg
    assert len(calls) == 1 and x.equal(toy_step(one).x)


@pytest.mark.parametrize("sample", [{"use": "one-step"}, {**FEW, "sigmas": [80.0]}, {"use": "heun"}])
def test_a_sampler_of_one_step_is_refused(sample: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="sigmas of two or more"):
        toy_state(generator_loss={"use": "dmd2", **NO_GAN, "rollout": "noise"}, sample=sample)


class Contract(GeneratorLossContract):
    """Of which the tests below take those that several steps could break."""

    use = "dmd2"
    recipe: ClassVar[dict[str, Any]] = {
        "sample": FEW, "generator": {"optimizer": {"lr": 1e-3, "warmup_kimg": 0.0}}, "dataset": {"size": 16},
        "teacher_score": {"network": {"use": "mlp", "width": 8, "depth": 1}},
    }  # fmt: skip


@pytest.mark.parametrize("start", ["noise", "data"])
def test_runs_are_the_same_after_a_stop_by_parts_and_on_two_processes(
    monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    monkeypatch.setattr(Contract, "config", {**NO_GAN, "rollout": start})
    contract = Contract()
    contract.test_a_run_goes_on_from_a_checkpoint_bit_for_bit()
    contract.test_micro_batches_give_the_gradient_of_the_whole_batch()
    contract.test_several_processes_train_the_weights_of_one()
    contract.test_a_step_does_not_wait_for_the_device()
