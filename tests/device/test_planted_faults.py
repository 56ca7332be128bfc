"""The pretended GPU finds what a CPU hides: faults are planted, and each is told."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit import noise
from distillkit.builtin.mlp import MlpDenoiser
from distillkit.networks.loaded import Student
from distillkit.testing import toy_state
from distillkit.testing.training import copied, differences, run
from distillkit.testing.watch import waits
from distillkit.train.state import State
from distillkit.train.step import Step

NEEDS_REAL: dict[str, Any] = {"generator_loss": {"use": "ect"}}


def stepped(**tables: Any) -> State:
    return run(toy_state(**{"run": {"device": "cuda"}, **tables}), 2)


def on_the_cpu(self: Step, x: Tensor) -> Tensor:
    return x.to(self.state.dtype)


def test_without_a_fault_a_step_is_taken_on_the_device() -> None:
    state = stepped(**NEEDS_REAL)
    assert {p.device.type for p in state.generator.parameters()} == {"cuda"} and not state.skipped


def test_images_left_on_the_cpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Step, "_on_device", on_the_cpu)
    with pytest.raises(RuntimeError, match=r"cuda:0.*on the cpu"):
        stepped(dataset={"label_dim": 0}, **NEEDS_REAL)


def test_labels_left_on_the_cpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Step, "_on_device", on_the_cpu)
    with pytest.raises(RuntimeError, match=r"cuda:0.*on the cpu"):
        stepped()


def test_a_generator_of_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device="cpu": made("cpu"))
    with pytest.raises(RuntimeError, match="a cpu generator for a cuda tensor"):
        stepped()


def test_noise_made_on_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = noise.rows
    monkeypatch.setattr(noise, "rows", lambda *args: rows(*args[:6]))
    with pytest.raises(RuntimeError, match=r"cuda:0.*on the cpu"):
        stepped(generator_loss={"use": "sid"})


def test_a_tensor_that_is_no_buffer_stays_behind_and_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    forward, scale = MlpDenoiser.forward, torch.ones(1, 2, 1, 1)
    monkeypatch.setattr(MlpDenoiser, "forward", lambda self, x, *rest: forward(self, x * scale, *rest))
    with pytest.raises(RuntimeError, match=r"cuda:0.*on the cpu"):
        stepped(generator={"init": "scratch", "network": {"use": "mlp", "width": 8}})


def test_a_number_read_in_a_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(State, "record", lambda self, name, value: float(value))
    state = stepped(generator_loss={"use": "sid"}, auxiliary_loss=[{"use": "embedding", "weight": "auto"}])
    with waits() as found:
        run(state, 2)
    assert any("_local_scalar_dense" in one for one in found)


def test_a_copy_that_waits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Step, "_on_device", lambda self, x: x.to(self.state.device, self.state.dtype))
    state = stepped(**NEEDS_REAL)
    with waits() as found:
        run(state, 1)
    assert any("_to_copy" in one for one in found)


def test_a_default_generator_of_the_device_that_nobody_seeds_shows_once_a_stranger_has_used_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = MlpDenoiser.forward

    def dropping(self: MlpDenoiser, *given: Any) -> Tensor:  # by torch's own dropout
        return torch.nn.functional.dropout(forward(self, *given), 0.5, self.training)

    monkeypatch.setattr(MlpDenoiser, "forward", dropping)

    def differing() -> list[str]:
        one, other = (toy_state(run={"device": "cuda"}) for _ in range(2))
        first = copied(run(one, 2))
        torch.rand(7, device="cuda")
        return differences(first, copied(run(other, 2)))

    assert differing() == []
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: None)
    assert differing() != []


def test_a_tensor_of_the_device_is_not_pickled() -> None:
    with pytest.raises(RuntimeError, match="pickled"):
        torch.save(torch.zeros(2, device="cuda"), BytesIO())


def test_a_student_whose_noise_stays_on_the_cpu_draws_as_one_whose_noise_is_moved() -> None:
    state = stepped()
    student = Student(state.generator, state.components["sample"], {"seed": 0})
    student(2, device="cuda")
    z, labels = torch.randn(2, *state.dataset.shape), torch.eye(state.dataset.label_dim)[:2]
    with torch.no_grad():
        x, moved = student.sample(z, labels), student.sample(z.to("cuda"), labels.to("cuda"))
    assert x.device.type == "cpu" and moved.device.type == "cuda" and torch.equal(x, moved.cpu())
