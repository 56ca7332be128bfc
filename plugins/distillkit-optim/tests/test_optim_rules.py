"""Muon, Prodigy and the schedule, against their equations by hand and against torch's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from distillkit_optim.muon import COEFFICIENTS, Muon, orthogonal
from distillkit_optim.prodigy import Prodigy
from distillkit_optim.wsd import WarmupStableDecay
from torch import Tensor, nn

from distillkit.api import Optimizer, UpdateRule, UsageError

T = torch.float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=T)


def moved(
    rule: UpdateRule, net: nn.Module, grads: list[dict[str, Tensor]], lr: float = 0.1, **keys: Any
) -> dict[str, dict[str, Tensor]]:
    """Updates as the engine makes them -> the states."""
    named = dict(net.named_parameters())
    rule.prepare(named, Optimizer(lr=lr, **keys))
    states = {name: rule.begin(name, p.detach()) for name, p in named.items()}
    with torch.no_grad():
        for i, each in enumerate(grads):
            for name, p in named.items():
                after, states[name] = rule.move(name, p, each[name], states[name], torch.tensor(i + 1.0), lr)
                p.copy_(after)
            for key, value in rule.agree(list(states.values())).items():
                for state in states.values():
                    state[key] = value
    return states


def test_newton_schulz_takes_singular_values_by_its_quintic_and_leaves_the_vectors() -> None:
    g = drawn(5, 9)
    u, s, v = torch.linalg.svd(g, full_matrices=False)
    s = s / g.norm()
    for _ in range(5):
        a, b, c = COEFFICIENTS
        s = a * s + b * s**3 + c * s**5
    torch.testing.assert_close(orthogonal(g, 5), u @ torch.diag(s) @ v, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(orthogonal(g.T, 5), orthogonal(g, 5).T)
    assert 0.6 < float(s.min()) and float(s.max()) < 1.3


def test_of_zeros_it_is_zero() -> None:
    assert not orthogonal(torch.zeros(4, 6), 5).any()


@pytest.mark.parametrize("nesterov", [True, False])
def test_on_matrices_muon_is_torchs_own(nesterov: bool) -> None:
    ours = nn.Linear(48, 32, bias=False)
    theirs = copy.deepcopy(ours)
    plain = torch.optim.Muon(
        theirs.parameters(), lr=0.02, weight_decay=0.1, momentum=0.9, nesterov=nesterov,
        adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    grads = [{"weight": drawn(32, 48, seed=i).float()} for i in range(4)]
    before = ours.weight.detach().clone()
    moved(Muon(Muon.Config(momentum=0.9, nesterov=nesterov)), ours, grads, lr=0.02, weight_decay=0.1)
    for each in grads:
        theirs.weight.grad = each["weight"].clone()
        plain.step()
    # Torch multiplies in bfloat16.
    assert (ours.weight - theirs.weight).norm() < 0.02 * (before - theirs.weight).norm()


def test_all_but_hidden_weights_move_by_adamw() -> None:
    net = nn.Sequential(nn.Conv2d(1, 32, 3), nn.Conv2d(32, 32, 3), nn.Linear(32, 32), nn.Conv2d(32, 1, 3)).to(T)
    plain = copy.deepcopy(net)
    keys: dict[str, Any] = {"betas": (0.5, 0.9), "eps": 1e-6, "weight_decay": 0.1}
    grads = [{name: drawn(*p.shape, seed=i) for name, p in net.named_parameters()} for i in range(3)]
    states = moved(Muon(Muon.Config(adam=("2.*",))), net, grads, lr=0.01, **keys)
    assert [name for name, state in states.items() if "momentum" in state] == ["1.weight"]
    adamw = torch.optim.AdamW(plain.parameters(), lr=0.01, **keys)
    for each in grads:
        for name, p in plain.named_parameters():
            p.grad = each[name].clone()
        adamw.step()
    for (name, p), (_, q) in zip(net.named_parameters(), plain.named_parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-12, atol=1e-14) == (name != "1.weight")


@pytest.mark.parametrize(
    ("config", "words"),
    [({"adam": ("out*",)}, "no weight is named like 'out*'"), ({"least": 64}, "no weight has 64 channels")],
)
def test_muon_refuses_what_it_would_leave_out_silently(config: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("*", r"\*")):
        Muon(Muon.Config(**config)).prepare(dict(nn.Linear(32, 32).named_parameters()), Optimizer())


def test_prodigy_follows_its_algorithm() -> None:
    """Algorithm 4 for one network of two weights, all of them one vector."""
    net = nn.ParameterDict({"a": nn.Parameter(drawn(3)), "b": nn.Parameter(drawn(2, 2, seed=1))})
    x = torch.cat([p.detach().flatten() for p in net.parameters()])
    grads = [{name: p.detach() * (1 + i) + 0.1 for name, p in net.items()} for i in range(12)]
    flat = [torch.cat([g.flatten() for g in each.values()]) for each in grads]
    gamma, beta1, beta2, eps, d = 0.7, 0.9, 0.99, 1e-8, 1e-3
    x0, m, v, s, r = x.clone(), *(torch.zeros_like(x) for _ in range(3)), torch.zeros((), dtype=T)
    for g in flat:
        m = beta1 * m + (1 - beta1) * d * g
        v = beta2 * v + (1 - beta2) * d**2 * g**2
        r = beta2**0.5 * r + (1 - beta2**0.5) * gamma * d**2 * (g @ (x0 - x))
        s = beta2**0.5 * s + (1 - beta2**0.5) * gamma * d**2 * g
        x = x - gamma * d * m / (v.sqrt() + d * eps)
        d = max(d, float(r / s.abs().sum()))
    states = moved(Prodigy(Prodigy.Config(d0=1e-3)), net, grads, lr=gamma, betas=(beta1, beta2), eps=eps)
    torch.testing.assert_close(torch.cat([p.detach().flatten() for p in net.values()]), x, rtol=1e-12, atol=1e-14)
    assert d > 1e-3 and all(float(state["d"]) == pytest.approx(d, rel=1e-12) for state in states.values())


def test_prodigy_finds_its_step_from_one_that_is_far_too_small() -> None:
    net = nn.ParameterDict({"x": nn.Parameter(torch.full((4,), 5.0, dtype=T))})
    rule = Prodigy(Prodigy.Config())
    rule.prepare(dict(net.named_parameters()), Optimizer(lr=1.0, betas=(0.9, 0.99)))
    state = rule.begin("x", net.x.detach())
    for i in range(200):
        p = net.x.detach()
        after, state = rule.move("x", p, p.sign(), state, torch.tensor(i + 1.0), 1.0)
        state |= rule.agree([state])
        p.copy_(after)
    assert float(net.x.detach().abs().max()) < 1 and float(state["d"]) > 0.1


def test_prodigy_refuses_the_learning_rate_of_adam() -> None:
    with pytest.raises(UsageError, match="1 to begin with, not 1e-05"):
        Prodigy(Prodigy.Config()).prepare({}, Optimizer(lr=1e-5))


@pytest.mark.parametrize(
    ("keys", "nimg", "factor"),
    [
        ({}, 0, 1.0), ({}, 800, 1.0), ({}, 850, 0.5), ({}, 1000, 0.0), ({}, 2000, 0.0),
        ({"shape": "linear"}, 850, 0.75), ({"shape": "linear", "final": 0.2}, 900, 0.6), ({"final": 0.2}, 1000, 0.2),
        ({"decay": 1.0, "shape": "linear"}, 0, 1.0), ({"decay": 1.0, "shape": "linear"}, 250, 0.75),
    ],
)  # fmt: skip
def test_factors_by_hand(keys: Any, nimg: int, factor: float) -> None:
    made = WarmupStableDecay(WarmupStableDecay.Config(**keys))
    assert made.factor(nimg, 1000) == pytest.approx(factor, abs=1e-12)
