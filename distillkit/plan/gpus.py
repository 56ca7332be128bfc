"""Time on a GPU that is not here: counted work against a data sheet's peak and an assumed share of it, unmeasured."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from attrs import frozen

from distillkit.plan.fit import GB, Device, size
from distillkit.plan.several import most_rows
from distillkit.plan.speed import Speed
from distillkit.plan.stages import Stage

HERE, SHARE = "here", 0.35
PROBED = 1.0  # seconds


@frozen
class Gpu:
    """Memory in bytes and dense FLOP/s by precision, as its maker's data sheet has them."""

    name: str
    memory: float
    fp32: float
    tf32: float
    bf16: float


def _gpu(name: str, gigabytes: float, fp32: float, tf32: float, bf16: float) -> Gpu:
    return Gpu(name, gigabytes * GB, fp32 * 1e12, tf32 * 1e12, bf16 * 1e12)


# TFLOP/s. Data sheets give twice these for tensor cores "with sparsity", which no network here has.
GPUS = {
    "a100": _gpu("NVIDIA A100 SXM 80GB", 80, 19.5, 156, 312),  # A100 Tensor Core GPU data sheet, 2021
    "a100-40gb": _gpu("NVIDIA A100 SXM 40GB", 40, 19.5, 156, 312),  # the same
    "h100": _gpu("NVIDIA H100 SXM", 80, 67, 494.5, 989.5),  # H100 Tensor Core GPU data sheet, 2023
    "h200": _gpu("NVIDIA H200 SXM", 141, 67, 494.5, 989.5),  # H200 Tensor Core GPU data sheet, 2024
    "b200": _gpu("NVIDIA HGX B200, one GPU", 180, 75, 1100, 2250),  # HGX B200 data sheet, an eighth of 8 GPUs, 2024
    "l40s": _gpu("NVIDIA L40S", 48, 91.6, 183, 362),  # L40S data sheet, 2023
    "rtx3090": _gpu("NVIDIA GeForce RTX 3090", 24, 35.6, 35.6, 71),  # GA102 whitepaper, accumulating in fp32
    "rtx4090": _gpu("NVIDIA GeForce RTX 4090", 24, 82.6, 82.6, 165.2),  # Ada whitepaper, accumulating in fp32
}


def device(name: str) -> Device:
    """The memory of a GPU of the table."""
    return Device(memory=GPUS[name].memory, source=f"{GPUS[name].name}, by its data sheet")


def assumed(stage: Stage, name: str, share: float, n: int, done: int) -> Speed | None:
    """Images a second on `n` of a GPU, `done` images being seen; None: no work was counted, or no peak is known."""
    precision = stage.recipe.run.precision
    peak = probed(precision) if name == HERE else getattr(GPUS[name], precision, None)
    if stage.cost is None or peak is None or not stage.cost.flops:
        return None
    rows = most_rows(stage.recipe, n)
    per_iteration = stage.cost.flops * rows / stage.recipe.run.batch  # of the process that has most to do
    whose = "a convolution reached here now" if name == HERE else f"{GPUS[name].name} has by its data sheet"
    source = f"assumed, not measured: {share:.0%} (--share) of the {size(peak, 'FLOP/s')} in {precision} that {whose}"
    more = f" on each of {n}, and nothing lost between them" if n > 1 else ""
    return Speed(img_per_sec=stage.recipe.run.batch * share * peak / per_iteration, source=source + more, done=done)


@torch.no_grad()
def probed(precision: str) -> float:
    """FLOP/s of a 3x3 convolution of 128 channels in that precision, on the device that a run here would take."""
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = {"bf16": torch.bfloat16, "fp64": torch.float64}.get(precision, torch.float32)
    x, w = (torch.ones(shape, device=where, dtype=dtype) for shape in ((16, 128, 32, 32), (128, 128, 3, 3)))
    work = 2 * x.numel() * 128 * 9
    times = sorted(_timed(x, w))
    return work / times[len(times) // 2]


def _timed(x: torch.Tensor, w: torch.Tensor) -> Iterator[float]:
    began = time.perf_counter()
    torch.nn.functional.conv2d(x, w, padding=1)  # not counted: kernels are chosen
    while True:
        start = time.perf_counter()
        torch.nn.functional.conv2d(x, w, padding=1)
        if x.is_cuda:
            torch.cuda.synchronize()
        yield time.perf_counter() - start
        if time.perf_counter() - began > PROBED:
            return
