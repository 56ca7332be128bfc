"""Five usual mistakes are found by their names, each in several parametrisations, and right teachers have none."""

from __future__ import annotations

from typing import Any

import pytest
from planted import judged

FLOW = {"schedule": "flow", "prediction": "flow"}
EPS = {"schedule": "vp", "prediction": "eps"}
RIGHT: dict[str, dict[str, Any]] = {
    "rectified flow": FLOW,
    "VP, eps": EPS,
    "steps of DDPM, v": {"schedule": "table", "prediction": "v"},
    "TrigFlow": {"schedule": "trigflow", "prediction": "trigflow"},
    "interpolant, velocity": {"schedule": "gvp", "prediction": "velocity"},
    "EDM": {"schedule": "edm", "prediction": "x0"},
    "by hand": FLOW | {"hidden": True},
    "unlabelled": EPS | {"dataset": {"label_dim": 0}},
    "latents": FLOW | {"dataset": {"channels": 4}},
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_teacher_passes(name: str) -> None:
    report = judged(**RIGHT[name])
    assert report.right, report.findings


WRONG: dict[str, tuple[str, str, dict[str, Any]]] = {
    "latents not scaled": ("scale", "times 0.1", FLOW | {"scale": 0.18215, "dataset": {"channels": 4}}),
    "half as large": ("scale", "times 0.5", EPS | {"scale": 0.5}),
    "three times as large, by hand": ("scale", "times 3", FLOW | {"scale": 3.0, "hidden": True}),
    "from 0 to 1": ("scale", "from 0 to 1", EPS | {"scale": 0.5, "offset": 0.5}),
    "time of a flow": ("time reversed", "other way", FLOW | {"reversed": True}),
    "time of SiT, taken for a flow": ("time reversed", "other way", FLOW | {"reversed": True, "real": "velocity"}),
    "time of VP": ("time reversed", "other way", EPS | {"reversed": True}),
    "steps of DDPM": ("time reversed", "other way", {"schedule": "table", "prediction": "eps", "reversed": True}),
    "time of a flow, by hand": ("time reversed", "other way", FLOW | {"reversed": True, "hidden": True}),
    "v read as eps": ("prediction", "is v (", EPS | {"real": "v"}),
    "eps read as v": ("prediction", "is eps (", {"schedule": "table", "prediction": "v", "real": "eps"}),
    "x0 read as eps": ("prediction", "is x0 (", EPS | {"real": "x0"}),
    "velocity read as flow": ("prediction", "is velocity (", FLOW | {"real": "velocity"}),
    "eps read as v, by hand": ("prediction", "is eps (", {**EPS, "prediction": "v", "real": "eps", "hidden": True}),
    "classes from 1": ("labels", "i +1", FLOW | {"shift": 1}),
    "classes from -1": ("labels", "i -1", EPS | {"shift": -1}),
    "classes the other way": ("labels", "means something else", FLOW | {"swapped": True, "dataset": {"label_dim": 4}}),
    "guided by 1.5": ("guidance", "scale is baked in", FLOW | {"baked": 1.5}),
    "guided by 4": ("guidance", "is 4.0", EPS | {"baked": 4.0}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_planted_mistake_is_found_and_named(name: str) -> None:
    mistake, words, keys = WRONG[name]
    report = judged(**keys)
    assert [one.name for one in report.findings] == [mistake], report.findings
    assert words in report.findings[0].found
    assert report.findings[0].gain is None or report.findings[0].gain > 1


def test_two_mistakes_at_once_are_both_found() -> None:
    report = judged(**EPS, real="v", shift=1)
    assert {one.name for one in report.findings} == {"prediction", "labels"}


@pytest.mark.parametrize("fault", ["training", "normalised"])
def test_a_network_left_in_training_mode_is_told(fault: str) -> None:
    report = judged(**FLOW, **{fault: True})
    assert [one.name for one in report.findings] == [{"training": "random", "normalised": "rows"}[fault]]
    assert fault != "training" or "Dropout in training mode" in report.findings[0].found
