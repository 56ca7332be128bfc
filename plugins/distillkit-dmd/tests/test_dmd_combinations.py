"""Every host beside every auxiliary loss: runs, and goes on from a checkpoint bit for bit."""

from __future__ import annotations

import pytest
import torch

from distillkit.engine import loop, snapshot
from distillkit.testing import toy_state

UNET = {"use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}
HOSTS = {
    "sid": {}, "sida": {"generator_after_kimg": 0.0, "gan_after_kimg": 0.0}, "diff-instruct": {},
    "dmd": {"warmup_kimg": 0.0, "lr": 1e-3}, "dmd2": {"warmup_kimg": 0.0, "lr": 1e-3, "dfake_gen_update_ratio": 2},
}  # fmt: skip
TERMS = {
    "nothing": None, "embedding": {"real_batch": 16}, "adversarial": {},
    "regression": {"pairs": 16, "batch": 4, "sampler": {"use": "heun", "steps": 2}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path_factory.getbasetemp() / "combinations"))


def make(host, term):
    terms = [] if TERMS[term] is None else [{"use": term, **TERMS[term]}]
    return toy_state(
        teacher_score={"network": UNET}, generator_loss={"use": host, **HOSTS[host]}, auxiliary_loss=terms,
        generator={"optimizer": {"lr": 1e-3, "warmup_kimg": 0.0}},
    )  # fmt: skip


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("host", HOSTS)
def test_every_host_runs_with_every_term_and_resumes_bit_for_bit(host, term):
    straight, resumed = make(host, term), make(host, term)
    for _ in range(3):
        loop.iterate(straight)
    tensors, meta = snapshot.take(straight)
    snapshot.restore(resumed, {name: t.clone() for name, t in tensors.items()}, meta)
    for state in (straight, resumed):
        for _ in range(2):
            loop.iterate(state)
    assert straight.skipped == 0
    ours, theirs = snapshot.take(straight)[0], snapshot.take(resumed)[0]
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
