"""Whether a device computes what the CPU does: an iteration of each family, a resume, waits, precisions and levers.

Run by gpu.py. All of it is on small networks: what is right there is right on large ones, and takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from distillkit import noise
from distillkit.testing import toy_state
from distillkit.train import snapshot, turns
from distillkit.train.iterate import iterate
from distillkit.train.levers import LEVERS
from distillkit.train.state import State

TOLERANCE = 1e-4  # of gradients in fp32: sums of another order, and convolutions by other algorithms
UNET = {
    "use": "edm-ddpmpp", "model_channels": 32, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "dropout": 0.1,
}  # fmt: skip
GDD = {"width": 8, "projection": 4, "cmap": 4, "embedding": 4, "backbones": [{"use": "teacher-encoder"}]}
EL = [{"use": "embedding", "real_batch": 16, "embeddings": [{"use": "convnet"}]}]
HOSTS: dict[str, dict[str, Any]] = {
    "SiD": {"generator_loss": {"use": "sid"}},
    "SiDA + EL": {
        "generator_loss": {"use": "sida", "generator_after_kimg": 0.0, "gan_after_kimg": 0.0}, "auxiliary_loss": EL
    },
    "DMD2": {"generator_loss": {"use": "dmd2", "dfake_gen_update_ratio": 1}},
    "CD": {"generator_loss": {"use": "cd", "mu": 0.9}},
    "GDD": {"generator_loss": {"use": "gdd", **GDD}},
}  # fmt: skip


class Check(NamedTuple):
    """What was looked at, whether it is so, and the number behind it."""

    name: str
    passed: bool
    found: str


def checks(device: str) -> Iterator[Check]:
    """All of them; one that raises is one that failed."""
    for name, check in (
        *((f"{host}: an iteration as on the CPU", bind(as_on_the_cpu, host, device)) for host in HOSTS),
        ("resume, deterministic: the same bits", lambda: resumed(device, deterministic=True)),
        ("resume", lambda: resumed(device, deterministic=False)),
        *((f"{host}: a steady step waits for nothing", bind(waits_for_nothing, host, device)) for host in HOSTS),
        *((f"SiD, run.precision = {name}", bind(finite, device, precision=name)) for name in ("tf32", "bf16")),
        *((f"SiD, run.{name}", bind(finite, device, **{name: on})) for name, on in known_levers(device).items()),
    ):
        try:
            passed, found = check()
        except Exception as error:
            passed, found = False, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        yield Check(name, passed, found)


def bind(check: Callable[..., tuple[bool, str]], *args: Any, **keys: Any) -> Callable[[], tuple[bool, str]]:
    return lambda: check(*args, **keys)


def known_levers(device: str) -> dict[str, bool | int | str]:
    """Keys of [run] and the values that are tried; compiling for a CPU is another matter, and slow."""
    found = {lever.key.removeprefix("run."): lever.on for lever in LEVERS}
    return {name: on for name, on in found.items() if name != "compile" or device != "cpu"}


def state_of(host: str, device: str, **run: Any) -> State:
    run = {"kimg": 1, "batch": 8, "device": device, **run}
    return toy_state(run=run, teacher_score={"network": UNET}, **HOSTS[host])


@contextmanager
def drawn_on_the_cpu() -> Iterator[None]:
    """Inside, noise is the CPU's on every device, which has numbers of its own else."""
    rows = noise.rows

    def moved(*args: Any, device: torch.device | str = "cpu", **keys: Any) -> Tensor:
        *args, device = args if len(args) > 6 else (*args, device)
        return rows(*args, device="cpu", **keys).to(device)

    with patch.object(noise, "rows", moved):
        yield


def as_on_the_cpu(host: str, device: str) -> tuple[bool, str]:
    """Gradients of every network, as Adam's first moments hold them, after one iteration from the same weights."""
    found = []
    for place in ("cpu", device):
        with drawn_on_the_cpu():
            iterate(state := state_of(host, place))
        found.append(moments(state))
    apart = {name: distance(found[1][name], found[0][name]) for name in found[0]}
    worst = max(apart, key=lambda name: apart[name])
    return apart[worst] <= TOLERANCE and len(apart) > 0, f"{apart[worst]:.1e} apart ({worst})"


def moments(state: State) -> dict[str, Tensor]:
    """By network: all first moments (or, where Adam keeps none, roots of second ones) in one line, on the CPU."""
    found = {}
    for name, updater in state.updaters.items():
        tensors = updater.tensors()
        kept = [v for key, v in tensors.items() if key.endswith("exp_avg")]
        if not any(v.any() for v in kept):
            kept = [v.sqrt() for key, v in tensors.items() if key.endswith("exp_avg_sq")]
        if kept:
            found[name] = torch.cat([v.flatten().double().cpu() for v in kept])
    return found


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-30))


def resumed(device: str, deterministic: bool) -> tuple[bool, str]:
    """Four iterations, and two, a checkpoint and two."""
    keys = {"deterministic": deterministic}
    straight, first, second = (state_of("SiDA + EL", device, **keys) for _ in range(3))
    for state, n in ((straight, 4), (first, 2)):
        for _ in range(n):
            iterate(state)
    tensors, meta = snapshot.capture(first)
    snapshot.restore(second, {name: value.clone() for name, value in tensors.items()}, meta)
    for _ in range(2):
        iterate(second)
    one, other = (snapshot.capture(state)[0] for state in (straight, second))
    if all(torch.equal(one[name], other[name]) for name in one):
        return True, "the same bits"
    apart = max(distance(other[name].double(), one[name].double()) for name in one if one[name].is_floating_point())
    return not deterministic and apart <= 10 * TOLERANCE, f"{apart:.1e} apart"


def waits_for_nothing(host: str, device: str) -> tuple[bool, str]:
    """Iterations after the first few, under torch's own watch for waiting."""
    if device == "cpu":
        return True, "nothing to wait for on a CPU"
    state = state_of(host, device)
    for _ in range(3):
        iterate(state)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            iterate(state)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return True, "3 iterations"


def finite(device: str, **run: Any) -> tuple[bool, str]:
    """Three iterations, none skipped, with a loss that is a number."""
    state = state_of("SiD", device, **run)
    for _ in range(3):
        iterate(state)
    turns.check(state)
    losses = {name: value for name, value in state.records.means().items() if "loss" in name}
    told = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
    return bool(losses) and all(map(math.isfinite, losses.values())) and not state.skipped, told
