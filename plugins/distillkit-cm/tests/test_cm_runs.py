"""Consistency models in the engine: what an iteration costs, weights of terms, exact resumes, saved students."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from distillkit.api import UsageError
from distillkit.networks import network_file
from distillkit.testing import toy_state
from distillkit.testing.toys import catalog
from distillkit.train import snapshot
from distillkit.train.iterate import iterate
from distillkit.train.state import State

UNET = {"use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
        "dropout": 0.1}  # fmt: skip
HOSTS = {"cd": {"mu": 0.9, "N": 8}, "ct": {"s1": 20}, "ect": {"double_kimg": 0.016, "c": 0.01}}
FURTHER = {"ict": {"s0": 4, "s1": 20}, "tcm": {}}
BOUNDARY = {"cd": 0.002, "ct": 0.002, "ect": 0.003, "ict": 0.002}  # tcm: whatever its first stage has
PIXELS = {"use": "embedding", "real_batch": 16, "embeddings": [{"use": "pixels"}]}
TERMS = {
    "fixed": [{**PIXELS, "weight": 1.0}],
    "two": [PIXELS, {**PIXELS, "ratio": 1.0}],
}


def make(host: str, terms: Sequence[dict[str, Any]] = (), network: dict[str, Any] = UNET, **tables: Any) -> State:
    return toy_state(
        teacher_score={"network": network}, generator_loss={"use": host, **{**HOSTS, **FURTHER}[host]},
        auxiliary_loss=list(terms), generator={"optimizer": {"lr": 1e-3}}, **tables,
    )  # fmt: skip


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("host", HOSTS)
def test_every_host_runs_with_terms_of_given_weights_and_resumes_bit_for_bit(host: str, term: str) -> None:
    """Each term of its own weight: tests/run/test_hosts_and_terms.py."""
    straight, resumed = (make(host, TERMS[term]) for _ in range(2))
    for _ in range(3):
        iterate(straight)
    tensors, meta = snapshot.capture(straight)
    snapshot.restore(resumed, {name: t.clone() for name, t in tensors.items()}, meta)
    for state in (straight, resumed):
        for _ in range(2):
            iterate(state)
    assert straight.skipped == 0
    ours, theirs = snapshot.capture(straight)[0], snapshot.capture(resumed)[0]
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize(("host", "passes"), [("cd", 6), ("ct", 4), ("ect", 4)])
def test_an_iteration_costs_no_pass_too_many(host: str, passes: int) -> None:
    state = make(host, network={**UNET, "model_channels": 32})
    x = torch.zeros(state.batch, *state.dataset.shape)
    with torch.no_grad():
        forward = flops(lambda: state.ema(x, torch.ones(()), None))
    assert flops(lambda: iterate(state)) <= 1.02 * passes * forward


@pytest.mark.parametrize("host", [*HOSTS, *FURTHER])
def test_a_saved_student_makes_the_same_images(host: str, tmp_path: Path) -> None:
    state = make(host)
    for _ in range(2):
        iterate(state)
    network_file.save(tmp_path, state.ema, {})
    loaded = network_file.load_network(tmp_path, catalog())
    x = torch.randn(2, *state.dataset.shape, generator=torch.Generator().manual_seed(0))
    for sigma in (0.004, 0.5, 80.0):
        assert torch.equal(loaded(sigma * x, torch.tensor(sigma)), state.ema(sigma * x, torch.tensor(sigma)))
    if host in BOUNDARY:
        torch.testing.assert_close(loaded(x, torch.tensor(BOUNDARY[host])), x)
    assert state.teacher.network.boundary == 0.0


def test_the_target_computes_as_the_student_does() -> None:
    state = make("cd", run={"precision": "bf16"})
    assert state.components["generator_loss"].target.compute_dtype == torch.bfloat16


def test_a_network_without_the_form_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillkit_cm.pair.Pair.network_keys", {"preconditioning": "other"})
    with pytest.raises(UsageError, match="generator_loss 'cd': the network 'edm-ddpmpp' cannot do that"):
        make("cd")
    monkeypatch.setattr("distillkit_cm.pair.Pair.network_keys", {"form": "consistency"})
    with pytest.raises(UsageError, match="generator_loss 'cd': the network 'edm-ddpmpp' has no key 'form'"):
        make("cd")
