"""Names of devices: which are taken, and what is said of the others."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from distillkit.api import UsageError
from distillkit.api.explained import explained
from distillkit.device import keep_memory, pick_device, settle


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


@pytest.fixture
def of_torch() -> Iterator[None]:
    """What `settle` sets, put back."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    yield
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before
    torch.use_deterministic_algorithms(False)


def test_one_run_leaves_no_determinism_to_the_next(of_torch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    settle(torch.device("cuda"), tf32=False, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # somebody's own
    settle(torch.device("cuda"), tf32=True, deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.benchmark
    assert torch.backends.cuda.matmul.allow_tf32


def test_a_cpu_needs_no_setting_for_determinism(of_torch: None) -> None:
    settle(torch.device("cpu"), tf32=False, deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_torch_cannot_do_in_order_is_told_by_its_key(of_torch: None) -> None:
    torch.use_deterministic_algorithms(True)
    with pytest.raises(RuntimeError) as caught:  # one that a CPU has no ordered form of either
        torch.empty(2).put_(torch.tensor([0, 0]), torch.ones(2), accumulate=False)
    told = explained(caught.value)
    assert told is not None and told.exit_code == 2
    assert str(told) == "run.deterministic: put_ adds up in no fixed order here; set it to false"


AGAIN = """
import resource, torch
from distillkit.device import settle
settle(torch.device("cpu"), False, False)
def iterate():
    graph = [torch.ones(10 << 20) for _ in range(3)]  # 40 MB each, all alive at once
    del graph
for _ in range(4):
    iterate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
iterate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_later_iteration_on_a_cpu_takes_no_page_anew_unless_it_is_told_to() -> None:
    def faults(**environment: str) -> int:
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
        call = [sys.executable, "-c", AGAIN]
        return int(subprocess.run(call, env={**bare, **environment}, capture_output=True, check=True).stdout)

    assert faults() < 100
    assert faults(DISTILLKIT_MALLOC="0") > 1000  # of 30,720 pages of 4 kB, where they are no larger


@pytest.mark.parametrize(
    ("name", "value"),
    [("DISTILLKIT_MALLOC", "0"), ("MALLOC_ARENA_MAX", "2"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1")],
)
def test_what_the_user_told_malloc_stays(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert not keep_memory()


def test_without_glibc_nothing_is_asked_of_malloc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_memory()
