"""What the contracts ask of every step, with options of losses, samplers and guidance that they do not try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distillkit.recipe import choice_from_table
from distillkit.testing import save_network
from distillkit.testing.toys import catalog, merged, toy_state
from distillkit.testing.training import iterations, run
from distillkit.testing.watch import thawed, waits
from distillkit.train import turns

UNET = {
    "use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "dropout": 0.1,
}  # fmt: skip
ON_UNET = {"teacher_score": {"network": UNET}}
EL = {"use": "embedding", "real_batch": 16, "embeddings": [{"use": "pixels"}, {"use": "convnet"}]}


def el(**keys: Any) -> dict[str, Any]:
    return {"auxiliary_loss": [{**EL, **keys}]}


def method(use: str, **keys: Any) -> dict[str, Any]:
    return {"generator_loss": {"use": use, **keys}}


def generator(**keys: Any) -> dict[str, Any]:
    return {"generator": {"optimizer": keys}}


SID, ADVERSARIAL = method("sid"), {"use": "adversarial", "features": "teacher"}
OPTIONS: dict[str, dict[str, Any]] = {
    "el per class": el(mode="per_class"),
    "el joint": el(mode="joint", beta=0.5),
    "el median": el(bandwidth="median", normalize="l2", estimator="biased"),
    "el without a bank": el(bank_mb=0, copies=2),
    "el refreshed": el(refresh_every=2),
    "el in micro-batches": merged(SID, el(), {"run": {"micro_batch": 2}}),
    "el beside a loss that never sees x": merged(method("edm"), el()),
    "two terms, one of them sometimes": merged(
        SID, ON_UNET, {"auxiliary_loss": [EL, {**ADVERSARIAL, "every": 2, "weight": 0.1}]}
    ),
    "sid joint": method("sid", shared_forward=True),
    "sida joint": merged(ON_UNET, method("sida", shared_forward=True, gan_after_kimg=0.0, generator_after_kimg=0.0)),
    "sid drops images": method("sid", nonfinite_images="drop", noise="lognormal"),
    "dmd2 alternating": merged(
        ON_UNET, method("dmd2", update="alternate", dfake_gen_update_ratio=2, features="teacher")
    ),
    "dmd2 by fastgen": merged(ON_UNET, method("dmd2", features="teacher", critic_noise="matching", classifier_lr=1e-4)),
    "gdd hinge": merged(ON_UNET, method("gdd", loss="hinge", width=16, projection=4, r1_every=2)),
    "cd with a target": method("cd", mu=0.9, distance="huber"),
    "radam, clipped": merged(SID, generator(name="radam", clip_norm=1.0)),
    "adamw, clipped": merged(SID, generator(name="adamw", clip_value=0.1, weight_decay=0.1)),
    "bf16": merged(SID, ON_UNET, {"run": {"precision": "bf16"}}),
    "ema of another kind": merged(SID, {"generator": {"ema": "power"}}),
    "classifier-free guidance": merged(SID, {"teacher_score": {"guidance": {"use": "classifier-free"}}}),
    "autoguidance": merged(SID, {"teacher_score": {"guidance": {"use": "autoguidance", "guide": "guide"}}}),
    "two steps": merged(SID, {"sample": {"use": "few-step", "sigmas": [2.5, 0.5]}}),
    "a student with Heun's method": merged(SID, {"sample": {"use": "heun", "steps": 2}}),
    "augmented": method("sid", augment={"use": "edm", "p": 1.0}),
}
ALLOWED = {
    "modes.py:rows_by_class": "labels of the data set are on the host",
    "levels.py:levels": "numbers of the recipe, on the host",
    "levels.py:own_noise": "noise by the bits of an image's own z",
    "levels.py:<listcomp>": "of it",
    "warp.py:margins": "the padding is as wide as this batch needs it",
    "warp.py:warp": "of it",
    "warp.py:_grid": "of it",
}


@pytest.fixture(autouse=True)
def _guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weaker teacher in the folder that relative paths start from."""
    monkeypatch.chdir(tmp_path)
    choice = choice_from_table("network", {"use": "mlp", "width": 8, "depth": 1}, catalog(), where="guide")
    save_network(tmp_path / "guide", choice, toy_state().dataset)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_step_waits_for_nothing_and_what_does_not_train_wants_no_gradients(name: str) -> None:
    state = run(toy_state(**OPTIONS[name]), 2)
    with waits(ALLOWED) as found:
        run(state, iterations(state))
    assert not state.skipped and sorted(set(found)) == []
    for turn in state.turns:
        with thawed([p for one in turn.trains for p in state.updaters[one].params]) as found:
            turns.take(state, turn)
        assert sorted(set(found)) == [], turn.name
