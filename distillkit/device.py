"""The device that a run, a drawing or an export computes on."""

from __future__ import annotations

import ctypes
import os
import platform
import re

import torch

from distillkit.api import UsageError

# Parameters of glibc's mallopt(3), by its numbers: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD (-1: never), M_TOP_PAD.
MALLOC = {-3: 1 << 30, -1: -1, -2: 1 << 26}


def pick_device(name: str, where: str = "run.device") -> torch.device:
    """The device of this name; "auto": a CUDA GPU where there is one. `where`: what the name is the value of.

    Raises UsageError for a device that torch does not see here, or that cannot compute what runs do.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind == "mps":  # losses and metrics are summed in float64, which Metal does not have
        raise UsageError(f'{where} = "{name}": Apple\'s GPUs have no float64, which sums need; write "cpu"')
    if not re.fullmatch(r"cpu|(cuda|xpu)(:\d+)?", name):
        raise UsageError(f'{where} = "{name[:40]}" is no device; write auto, cpu, cuda, cuda:1 or xpu')
    if kind != "cpu":
        torch_of_kind = getattr(torch, kind)
        count = torch_of_kind.device_count() if torch_of_kind.is_available() else 0
        if count <= int(number or 0):
            gpus = {0: "no GPU", 1: "1 GPU"}.get(count, f"{count} GPUs")
            raise UsageError(f'{where} = "{name}", but torch sees {gpus} of that kind here; write "cpu" or "auto"')
    return torch.device(name)


def settle(device: torch.device, tf32: bool, deterministic: bool) -> None:
    """Set what torch keeps for the whole process: an earlier run may have left its own.

    `deterministic`: the same numbers in every run on the same GPU; where an operation has no such form torch raises.
    On a CPU every run has the same bits as it is.
    """
    if device.type == "cpu":
        keep_memory()
    if device.type != "cuda":
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    # Shapes stay the same all run long: the search for the fastest kernels is made once. It may find others next time.
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        # cuBLAS reads it once, at its first call; what somebody wrote there before us counts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Nothing here reads memory that it did not write.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def keep_memory() -> bool:
    """Have malloc keep what tensors gave back, for the next iteration asks for the same again -> whether it does.

    Left to itself glibc returns large blocks to the system, and an iteration pays for each of their pages once more:
    zeroed by the kernel at first touch. Not where the user has told malloc something, nor with DISTILLKIT_MALLOC=0.
    """
    told = [name for name in os.environ if name.startswith("MALLOC_")]
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if platform.libc_ver()[0] != "glibc" or told or tuned or os.environ.get("DISTILLKIT_MALLOC") == "0":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(name, value) == 1 for name, value in MALLOC.items()])
