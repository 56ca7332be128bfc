"""Names of devices: which are taken, and what is said of the others."""

from __future__ import annotations

import pytest
import torch

from distillkit.api import UsageError
from distillkit.device import pick_device


@pytest.mark.parametrize(
    ("name", "gpus", "told"),
    [("cuda", 0, "no GPU"), ("cuda:1", 1, "1 GPU"), ("cuda:3", 2, "2 GPUs"), ("mps", 0, "no float64"),
     ("xpu", 0, "no GPU"), ("tpu", 0, "is no device"), ("cuda:x", 2, "is no device")],
)  # fmt: skip
def test_a_device_that_is_not_here_is_refused_in_one_line(
    name: str, gpus: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    with pytest.raises(UsageError, match=told) as refused:
        pick_device(name, "--device")
    assert str(refused.value).startswith(f'--device = "{name}"') and "\n" not in str(refused.value)


def test_a_device_that_is_here_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto").type == "cuda"
    assert pick_device("cuda:1") == torch.device("cuda:1")
