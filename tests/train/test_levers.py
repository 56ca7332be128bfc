"""Each lever, alone and beside whatever a run may have: the numbers of a run without it, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import UsageError
from distillkit.recipe import fingerprint
from distillkit.recipe.fingerprint import WITHOUT_EFFECT_ON_RESULT
from distillkit.testing import toys
from distillkit.testing.ranks import simulated
from distillkit.testing.training import copied, differences, gradients, run, weights
from distillkit.train import adam8, compiled, levers, snapshot
from distillkit.train.levers import LEVERS
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State

UNET = {"use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": [8]}
SID = {
    "teacher_score": {"use": "toy", "network": {**UNET, "dropout": 0.1}},
    "generator_loss": {"use": "sid", "noise": "lognormal"},
}
KEYS = [lever.key for lever in LEVERS]
NO_BITS = {f"run.{key}" for key in WITHOUT_EFFECT_ON_RESULT} & {*KEYS}
ITERATIONS = 2


@pytest.fixture(autouse=True)
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs of torch's compiler without its kernels, which take a C++ compiler and minutes."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")


@pytest.fixture(autouse=True)
def small_moments_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks here have few tensors as large as those whose moments take 8 bits."""
    monkeypatch.setattr(adam8, "LEAST", adam8.BLOCK)


@pytest.fixture(autouse=True, scope="module")
def forgotten() -> Iterator[None]:
    """Tests share what is compiled; who comes after them has a compiler that knows nothing."""
    yield
    torch.compiler.reset()


def tables(*keys: str, **more: Any) -> dict[str, Any]:
    """SiD on a small U-Net with dropout, with the levers of these keys pulled."""
    found: dict[str, Any] = toys.merged(SID, more)
    for lever in LEVERS:
        if lever.key in keys:
            *path, name = lever.key.split(".")
            table: dict[str, Any] = {name: lever.on}
            for part in reversed(path):
                table = {part: table}
            found = toys.merged(found, table)
    return found


def built(*keys: str, ranks: Ranks | None = None, **more: Any) -> State:
    """A state with these levers pulled, whose fake score is not the teacher's.

    As SiD begins it is, and the generator's gradient is the rounding of their difference: whose, no tolerance can ask.
    """
    state = toys.toy_state(ranks, **tables(*keys, **more))
    drawn = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in state.networks["fake_score"].parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=drawn).to(weight))
    return state


def trained(*keys: str, **more: Any) -> State:
    return run(built(*keys, **more), ITERATIONS)


@cache
def without(precision: str, *keys: str) -> State:
    """A run to compare others with, which read its weights alone."""
    return trained(*keys, run={"precision": precision})


@cache
def begun() -> dict[str, Tensor]:
    """Weights that nothing has trained yet."""
    return weights(built())


def alike(one: State, other: State, tolerance: float) -> None:
    """Asserts that the weights of two runs are the same to a share of how far training moved them."""
    start, ours, theirs = begun(), weights(one), weights(other)
    for name in ours:
        way = (theirs[name].double() - start[name].double()).norm() + 1e-30
        assert (ours[name].double() - theirs[name].double()).norm() <= tolerance * way, name


def ranks_of(size: int, *keys: str, **more: Any) -> State:
    return simulated(size, lambda ranks: run(built(*keys, ranks=ranks, **more), ITERATIONS))[0]


FP32 = {"run": {"precision": "fp32"}}
FP64 = {"run": {"precision": "fp64"}}
BF16 = {"run": {"precision": "bf16"}}


def setting(*keys: str) -> tuple[dict[str, Any], float, list[str]]:
    """What runs with these levers are compared in, to which tolerance, and the levers that both have.

    One that rounds is compared with itself, in float32; tests/train/test_half.py has how much it rounds.
    """
    rounding = [key for key in keys if (key, 'run.precision = "fp64"') in levers.APART]
    return (FP32, 0.05, rounding) if rounding else (FP64, 1e-8, [])


@pytest.mark.parametrize("key", [key for key in KEYS if not setting(key)[2]])
def test_in_float64_a_lever_changes_rounding_alone(key: str) -> None:
    alike(trained(key, **FP64), without("fp64"), 1e-8)


@pytest.mark.parametrize("key", KEYS)
def test_with_micro_batches_too(key: str) -> None:
    precision, tolerance, both = setting(key)
    more = toys.merged(precision, {"run": {"micro_batch": 4}})
    alike(trained(key, **more), without(precision["run"]["precision"], *both), tolerance)


@pytest.mark.parametrize("key", KEYS)
def test_on_two_processes_too(key: str) -> None:
    precision, tolerance, both = setting(key)
    alike(ranks_of(2, key, **precision), without(precision["run"]["precision"], *both), tolerance)


@pytest.mark.parametrize("key", [key for key in KEYS if not setting(key)[2]])
def test_in_bf16_gradients_are_no_further_from_those_of_float64(key: str) -> None:
    def of(*keys: str, **more: Any) -> list[tuple[str, Tensor]]:
        return [(name, g.double()) for name, g in gradients(built(*keys, **more))]

    for (name, exact), (_, plain), (_, ours) in zip(of(**FP64), of(**BF16), of(key, **BF16), strict=True):
        assert (ours - exact).norm() <= 1.5 * (plain - exact).norm(), name


@pytest.mark.parametrize("key", KEYS)
def test_a_run_that_was_interrupted_goes_on_to_the_same_bits(key: str) -> None:
    precision, _, _ = setting(key)
    through = trained(key, **precision)
    halfway = run(built(key, **precision), 1)
    resumed = toys.toy_state(**tables(key, **precision))
    snapshot.restore(resumed, *copied(halfway))
    assert not differences(copied(run(resumed, ITERATIONS - 1)), copied(through))


@pytest.mark.parametrize("key", KEYS)
def test_names_shapes_and_copies_of_networks_are_those_without_it(key: str) -> None:
    def described(state: State) -> dict[str, tuple[torch.Size, torch.dtype]]:
        tensors = snapshot.capture(state)[0].items()
        moments = "optimizers/" if key == "run.state_bits" else "no such name"  # codes and scales, to a resume alone
        return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors if not name.startswith(moments)}

    precision, _, _ = setting(key)
    assert described(trained(key, **precision)) == described(trained(**precision))


@pytest.mark.parametrize("key", KEYS)
def test_forward_mode_derivatives_are_those_without_it_or_refused(key: str) -> None:
    precision, _, _ = setting(key)

    def moved(*keys: str) -> list[Tensor]:
        """D and its directional derivative along ones, and what a loss of that gives the weights."""
        state = toys.toy_state(**tables(*keys, **precision))
        network = state.generator.train().requires_grad_(True)
        x = toys.toy_step(state).real
        with noise.masks(0, 0, len(x)):
            D, along = torch.func.jvp(lambda x: network(x, 1.0), (x,), (torch.ones_like(x),))
        return [D, along, *torch.autograd.grad(along.square().sum(), list(network.parameters()), allow_unused=True)]

    if key == "run.channels_last":
        with pytest.raises(UsageError, match="does not go with forward-mode derivatives of a network with group norms"):
            moved(key)
        return
    torch.testing.assert_close(moved(key), moved(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("one", KEYS)
@pytest.mark.parametrize("other", KEYS)
def test_two_levers_go_together_or_are_refused(one: str, other: str) -> None:
    if (one, other) in levers.APART or (other, one) in levers.APART:
        with pytest.raises(UsageError, match="does not go with"):
            trained(one, other, **FP64)
    elif one < other:
        precision, tolerance, both = setting(one, other)
        alike(trained(one, other, **precision), without(precision["run"]["precision"], *both), tolerance)


@pytest.mark.parametrize("key", KEYS)
def test_a_lever_that_is_off_leaves_the_fingerprint_as_it_was(key: str) -> None:
    def of(**tables: Any) -> str:
        return fingerprint(toys.toy_recipe(**tables), {}, {})

    (lever,) = [lever for lever in LEVERS if lever.key == key]
    assert lever.off == lever.value(toys.toy_recipe(**tables()))
    assert (of(**tables(key)) != of(**tables())) == (key not in NO_BITS)


@pytest.mark.parametrize(("pair", "why"), levers.APART.items())
def test_what_does_not_go_together_is_refused_in_one_line(
    pair: tuple[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside: dict[str, Callable[[State], bool]] = {name: lambda state: True for name in levers.BESIDE}
    monkeypatch.setattr(levers, "BESIDE", beside)
    with pytest.raises(UsageError) as refusal:
        toys.toy_state(**tables(*(key for key in pair if key in KEYS)))
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_channels_last_is_refused_where_nothing_convolves() -> None:
    with pytest.raises(UsageError, match=r"run.channels_last: no network convolves"):
        toys.toy_state(run={"channels_last": True})


def test_with_channels_last_weights_and_what_convolutions_make_have_that_layout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = toys.toy_state(**tables("run.channels_last"))
    made: list[Tensor] = []
    convolution = torch.nn.functional.conv2d

    def watched(*given: Any, **more: Any) -> Tensor:
        made.append(convolution(*given, **more))
        return made[-1]

    monkeypatch.setattr(torch.nn.functional, "conv2d", watched)
    run(state, 1)
    assert len(made) > 20
    weights = [p for network in levers.denoisers(state).values() for p in network.parameters() if p.ndim == 4]
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in (*made, *weights))
