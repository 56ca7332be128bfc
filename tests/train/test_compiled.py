"""run.compile: what is compiled, when, and what a user reads where it cannot be."""

from __future__ import annotations

import copy
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import ResourceError, UsageError
from distillkit.api.explained import explained
from distillkit.cli.main import main
from distillkit.testing import toys, training
from distillkit.testing.training import run
from distillkit.train import compiled
from distillkit.train.state import State

SMALL = {"run": {"compile": True}, "generator_loss": {"use": "sid", "noise": "lognormal"}}
CXX = shutil.which("g++") and Path(sysconfig.get_path("include"), "Python.h").is_file()


class Counted:
    """A backend that runs graphs as they are, and knows how many it was given and how often they ran."""

    def __init__(self) -> None:
        self.graphs = self.calls = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1

        def call(*given: Any) -> Any:
            self.calls += 1
            return graph(*given)

        return call


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    torch.compiler.reset()
    made = Counted()
    monkeypatch.setattr(compiled, "BACKEND", made)
    yield made
    torch.compiler.reset()


def pictures(state: State, network: Any) -> Tensor:
    x = torch.zeros(5, *state.dataset.shape, device=state.device)
    return network(x, 1.0)


def test_passes_of_a_turn_are_compiled_and_nothing_is_compiled_after_the_second_iteration(backend: Counted) -> None:
    state = run(toys.toy_state(**SMALL), 2)
    graphs, calls = backend.graphs, backend.calls
    assert graphs > 1  # `ready` compiles one by itself
    run(state, 3)
    assert backend.graphs == graphs
    assert backend.calls > calls


def test_pictures_and_metrics_are_drawn_as_by_a_network_that_was_loaded(backend: Counted) -> None:
    state = run(toys.toy_state(**SMALL), 1)
    calls = backend.calls
    for network in (state.generator, state.ema, state.teacher.network):
        pictures(state, network)
    assert backend.calls == calls
    with noise.masks(0, 0, 5):  # in a pass of a turn
        pictures(state, state.ema)
        assert backend.calls == calls, "the average was compiled"
        pictures(state, state.generator)
    assert backend.calls > calls


class Drops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return noise.dropout(noise.dropout(x, 0.5), 0.25)


def test_one_program_serves_all_places_of_a_pass_and_drops_what_it_would_uncompiled(backend: Counted) -> None:
    x, net = torch.randn(5, 6, dtype=torch.float64), Drops()
    fast = compiled.in_passes(Drops.forward, backend)
    with noise.masks(3, 0, 5):
        plain = [net(x) for _ in range(4)]
    with noise.masks(3, 0, 5):
        found = [fast(net, x) for _ in range(2)] + [net(x), fast(net, x)]
    assert not torch.equal(plain[0], plain[1])
    assert all(map(torch.equal, found, plain))
    assert backend.graphs == 1 and backend.calls == 3


def test_noise_levels_that_are_numbers_make_no_programs_of_their_own(backend: Counted) -> None:
    state = toys.toy_state(**SMALL)
    graphs, x = backend.graphs, torch.ones(5, *state.dataset.shape)
    plain = [state.generator(x, sigma) for sigma in (0.3, 1.7, 80.0)]
    with noise.masks(0, 0, 5):
        fast = [state.generator(x, sigma) for sigma in (0.3, 1.7, 80.0)]
    assert backend.graphs == graphs + 1
    assert all(map(torch.equal, fast, plain))


class Jump(torch.nn.Module):
    """Takes a second noise level, by its name."""

    def forward(self, x: Tensor, sigma: Tensor | float, *, r: Tensor | float) -> Tensor:
        return x * torch.as_tensor(r).to(x) / torch.as_tensor(sigma).to(x)


def test_numbers_that_a_network_takes_by_name_make_no_programs_of_their_own(backend: Counted) -> None:
    net, x = Jump(), torch.ones(5, 1, 2, 2)
    plain = [net(x, 2.0, r=r) for r in (0.3, 1.7, 0.0)]
    compiled.compiles(net, trains=False)
    with noise.masks(0, 0, 5):
        fast = [net(x, 2.0, r=r) for r in (0.3, 1.7, 0.0)]
    assert backend.graphs == 1
    assert all(map(torch.equal, fast, plain))


def test_a_copy_of_a_compiled_network_is_a_network_of_its_own(backend: Counted) -> None:
    state = toys.toy_state(**SMALL)
    twin = copy.deepcopy(state.generator)
    for p in twin.parameters():
        p.data.add_(1)
    with noise.masks(0, 0, 5):
        assert not torch.equal(pictures(state, twin), pictures(state, state.generator))
    assert twin.state_dict().keys() == toys.toy_state().generator.state_dict().keys()


def test_forward_mode_derivatives_take_the_network_as_it_is(backend: Counted) -> None:
    state = toys.toy_state(**SMALL)
    x, calls = torch.zeros(5, *state.dataset.shape), backend.calls
    with noise.masks(0, 0, 5):
        _, moved = torch.func.jvp(lambda x: state.generator(x, 1.0), (x,), (torch.ones_like(x),))
    assert moved.abs().max() > 0
    assert backend.calls == calls


def test_in_bf16_images_losses_and_averages_stay_float32(backend: Counted) -> None:
    seen: list[torch.dtype] = []

    def watched(graph: Any, inputs: Any) -> Any:
        seen.extend(node.meta["example_value"].dtype for node in graph.graph.nodes if node.op == "call_function"
                    and isinstance(node.meta.get("example_value"), Tensor))  # fmt: skip
        return graph

    compiled.BACKEND = watched
    state = toys.toy_state(**toys.merged(SMALL, {"run": {"precision": "bf16"}}))
    losses = [loss for turn in state.turns for loss in training.losses(state, turn).values()]
    run(state, 2)
    assert torch.bfloat16 in seen, "the layers are not bf16"
    with noise.masks(0, 0, 5):
        assert pictures(state, state.generator).dtype == torch.float32
    assert {loss.dtype for loss in losses} == {torch.float32}
    assert {p.dtype for net in (*state.networks.values(), state.ema) for p in net.parameters()} == {torch.float32}


def test_check_refuses_what_does_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "gaussians_sid.toml"
    sets = ["--set", "run.compile=true", "--set", "run.checkpoint_activations=true"]
    assert main(["check", str(recipe), *sets]) == 2
    assert "run.compile does not go with run.checkpoint_activations" in capsys.readouterr().err


def test_gradients_of_gradients_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    state = toys.toy_state(**SMALL)
    x = torch.zeros(5, *state.dataset.shape).requires_grad_()
    with pytest.raises(RuntimeError) as error, noise.masks(0, 0, 5):
        (grad,) = torch.autograd.grad(state.generator(x, 1.0).square().sum(), x, create_graph=True)
        grad.square().sum().backward()
    torch.compiler.reset()
    known = explained(error.value)
    assert isinstance(known, UsageError)
    assert "no run.compile" in str(known)


def test_without_a_compiler_the_run_ends_before_it_trains(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    with inductor.patch({"cpp.cxx": (None, "no-such-compiler")}), pytest.raises(ResourceError) as refusal:
        toys.toy_state(**SMALL)
    torch.compiler.reset()
    assert str(refusal.value).startswith("run.compile = true: torch cannot compile: ")
    assert "\n" not in str(refusal.value)
    assert "compiler" in str(refusal.value)


def test_what_is_compiled_is_kept_in_our_folder_or_in_the_users(
    backend: Counted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path))
    toys.toy_state(**SMALL)
    assert Path(compiled.os.environ["TORCHINDUCTOR_CACHE_DIR"]) == tmp_path / "compiled"
    compiled.os.environ["TORCHINDUCTOR_CACHE_DIR"] = "/mine"
    toys.toy_state(**SMALL)
    assert compiled.os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/mine"


@pytest.mark.skipif(not CXX, reason="torch's compiler needs g++ and Python.h")
def test_by_the_real_compiler_numbers_are_the_same_to_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    x = torch.ones(4, 2, 8, 8)
    network = toys.toy_state(run={"compile": True}).generator.requires_grad_(True)

    def passed() -> list[Tensor]:
        out = network(x, 1.0)
        return [out, *torch.autograd.grad(out.square().sum(), list(network.parameters()))]

    plain = passed()
    with noise.masks(0, 0, 4):
        fast = passed()
    torch.compiler.reset()
    assert not all(map(torch.equal, fast, plain)), "nothing was compiled"
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-6)
