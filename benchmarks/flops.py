"""Passes through the networks: counted floating-point operations of every method beside the least its algorithm needs.

Usage: OMP_NUM_THREADS=1 python benchmarks/flops.py        prints the table of benchmarks/README.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import attrs
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from distillkit.api import EncoderFeatures
from distillkit.mmd import mmd2, self_mean
from distillkit.testing import toy_state
from distillkit.train.iterate import iterate
from distillkit.train.state import State

UNET = {
    "use": "edm-ddpmpp", "model_channels": 32, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "dropout": 0.1,
}  # fmt: skip
AT_ONCE = {"generator_after_kimg": 0.0, "gan_after_kimg": 0.0}
FASTGEN = {"features": "teacher", "update": "alternate", "fake_weight": "none"}
SHARED = {"critic_noise": "matching", "shared_pass": True}
BACKSIM = {"use": "dmd2", "rollout": "noise"}
GDD = {"width": 8, "projection": 4, "cmap": 4, "embedding": 4, "backbones": [{"use": "teacher-encoder"}]}
HEADS = {"init": "scratch", "network": {"use": "guided-flow-map", "network": {**UNET, "second_time": True}}}
SIGMAS = [80.0, 10.0, 2.0, 0.4]
CTM = {"N": 8, "h": 3, "steps": "fixed"}
EL = [{"use": "embedding", "real_batch": 16, "embeddings": [{"use": "convnet"}]}]


class Method(NamedTuple):
    """A row: its name, [generator_loss], iterations it is counted over, and the least cost as a sum of `costs`."""

    name: str
    loss: dict[str, Any]
    minimum: dict[str, float]
    iterations: int = 1
    terms: list[dict[str, Any]] = []
    generator: dict[str, Any] = {}  # [generator], where it is no copy of the teacher
    steps: int = 1  # of the sampler


METHODS = (
    Method("SiD", {"use": "sid"}, {"F": 11}),
    Method("SiD, shared_forward", {"use": "sid", "shared_forward": True}, {"F": 9}),
    Method("SiD, two steps", {"use": "sid"}, {"F": 15}, steps=2),
    Method("SIM", {"use": "sid", "alpha": 1.0, "distance": "huber"}, {"F": 10}),
    Method("SiDA", {"use": "sida", **AT_ONCE}, {"F": 11, "e": 3}),
    Method("SiDA, shared_forward", {"use": "sida", "shared_forward": True, **AT_ONCE}, {"F": 9, "e": 3}),
    Method("SiD2A", {"use": "sid2a", **AT_ONCE}, {"F": 11, "e": 3}),
    Method("Diff-Instruct", {"use": "diff-instruct"}, {"F": 9}),
    Method("DMD, without pairs", {"use": "dmd"}, {"F": 8}),
    Method("DMD2, no GAN, 5 iterations", {"use": "dmd2", "gan": False}, {"F": 24}, 5),
    Method("DMD2, 5 iterations", {"use": "dmd2"}, {"F": 24, "e": 32, "h": 32}, 5),
    Method("DMD2, shared_pass, 5 iterations", {"use": "dmd2", **SHARED}, {"F": 24, "e": 16, "h": 32}, 5),
    Method("DMD2 as FastGen, 5 iterations", {"use": "dmd2", **FASTGEN}, {"F": 21, "e": 9, "h": 26}, 5),
    Method("DMD2, two steps, 10 iterations", BACKSIM, {"F": 53, "e": 64, "h": 64}, 10, steps=2),
    Method("RealUID, 5 iterations", {"use": "realuid", "alpha": 0.92, "beta": 0.94}, {"F": 42}, 5),
    Method("RealUID without data, 5 iterations", {"use": "realuid"}, {"F": 27}, 5),
    Method("f-distill, 5 iterations", {"use": "f-distill"}, {"F": 21, "e": 9, "h": 18}, 5),
    Method("LADD, 5 iterations", {"use": "ladd"}, {"F": 7, "e": 10, "h": 18}, 5),
    Method("CD", {"use": "cd", "mu": 0.9}, {"F": 6}),
    Method("CD by Euler's method", {"use": "cd", "mu": 0.9, "solver": "euler"}, {"F": 5}),
    Method("CT", {"use": "ct"}, {"F": 4}),
    Method("ECT", {"use": "ect"}, {"F": 4}),
    Method("IMM", {"use": "imm"}, {"F": 4}),
    Method("iCT", {"use": "ict"}, {"F": 4}),
    Method("TCM", {"use": "tcm"}, {"F": 5}),
    Method("sCD", {"use": "scd"}, {"F": 5}),
    Method("sCT", {"use": "sct"}, {"F": 4}),
    Method("rCM, two steps, 10 iterations", {"use": "rcm", "tangent_warmup": 0, "steps": 2}, {"F": 57}, 10),
    Method("MeanFlow", {"use": "meanflow"}, {"F": 4}),
    Method("MeanFlow, distilled", {"use": "meanflow", "velocity": "teacher"}, {"F": 5}),
    Method("MeanFlow, guided", {"use": "meanflow", "kappa": 0.5}, {"F": 6}),
    Method("improved MeanFlow", {"use": "imf"}, {"F": 6}, generator=HEADS),
    Method("PD", {"use": "pd", "start": 4}, {"F": 5}),
    Method("TRACT", {"use": "tract", "schedule": [4, 2, 1]}, {"F": 5}),
    Method("TRACT, form = edm, first phase", {"use": "tract", "form": "edm", "schedule": [4, 1]}, {"F": 6}),
    Method("CTM, 3 of Heun's steps", {"use": "ctm", **CTM}, {"F": 16}),
    Method("CTM, no denoising loss", {"use": "ctm", **CTM, "dsm": 0.0}, {"F": 13}),
    Method("GDD, without R1", {"use": "gdd", **GDD}, {"F": 4, "e": 4, "p": 4, "h": 8}),
    Method("GDD-I, without R1", {"use": "gdd-i", **GDD}, {"F": 4, "e": 4, "p": 4, "h": 8, "c": -1}),
    Method("CD + EL", {"use": "cd", "mu": 0.9}, {"F": 9, "f": 2, "m": 1}, terms=EL),
    Method("teacher (edm)", {"use": "edm"}, {"F": 3}),
    Method("EL beside SiD", {"use": "sid"}, {"f": 2, "m": 1}, terms=EL),
    Method(
        "EL beside SiD, bank_mb = 0", {"use": "sid"}, {"f": 2, "r": 1, "m": 1, "s": 1}, terms=[{**EL[0], "bank_mb": 0}]
    ),
)


class Row(NamedTuple):
    """Least cost as a formula, then least and counted cost in units of its first letter."""

    name: str
    formula: str
    minimum: float
    counted: float


class Counter(TorchDispatchMode):
    """torch's FlopCounterMode without its hooks on modules, which forbid torch.autograd.grad at leaves."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func.overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def flops(work: Callable[[], object]) -> int:
    with Counter() as counter:
        work()
    return counter.total


def measure(method: Method) -> Row:
    """Counted and least, in units of the formula's first letter; where that is not F, of what the terms add."""
    state = state_of(method)
    counted, unit = iterations(state, method), next(iter(method.minimum))
    if unit != "F":
        alone = method._replace(terms=[])
        counted -= iterations(state_of(alone), alone)
    cost = dict(costs(state, method))
    minimum = sum(factor * cost[name] for name, factor in method.minimum.items())
    return Row(method.name, formula(method.minimum), minimum / cost[unit], counted / cost[unit])


def state_of(method: Method) -> State:
    state = toy_state(
        run={"kimg": 1, "batch": 4}, teacher_score={"network": UNET}, generator_loss=method.loss,
        auxiliary_loss=method.terms, generator=method.generator,
        sample={"use": "few-step", "sigmas": SIGMAS[: method.steps]},
    )  # fmt: skip
    host: Any = state.components["generator_loss"]
    if host.rollout is not None and host.rollout.calls is None:  # each number of calls as often, not as it is drawn
        host.rollout = attrs.evolve(host.rollout, calls=lambda state, step: 1 + state.iteration % method.steps)
    return state


def iterations(state: State, method: Method) -> int:
    """FLOPs after the first iteration: what is made once is made in it."""
    iterate(state)
    return flops(lambda: [iterate(state) for _ in range(method.iterations)])


@torch.no_grad()
def costs(state: State, method: Method) -> Iterator[tuple[str, int]]:
    """Forward FLOPs of the batch: of the network, F; its encoder, e; and what the letters of METHODS say."""
    net: Any = state.generator if method.generator else state.teacher.network
    x = torch.zeros(state.batch, *state.dataset.shape)
    given = x, torch.ones(len(x), 1, 1, 1), torch.zeros(len(x), state.dataset.label_dim)
    yield "F", flops(lambda: net(*given))
    if not isinstance(net, EncoderFeatures):
        return
    yield "e", (e := flops(lambda: net.encoder_features(*given)))
    host = state.components["generator_loss"]
    if "c" in method.minimum or "p" in method.minimum:  # GDD's projections, heads and frozen convolutions
        (projection,), heads = host.D.projections, host.D.heads
        maps = projection(x, given[2], torch.zeros_like)
        yield "p", flops(lambda: projection(x, given[2], torch.zeros_like)) - e
        yield "h", flops(lambda: heads([maps], given[2]))
        yield "c", frozen_cost(state, given)
    elif "h" in method.minimum:  # DMD2's classifier
        features = net.encoder_features(*given)
        yield "h", flops(lambda: host.classifier(features))
    if method.terms:
        term = state.components["auxiliary_loss.0"]
        real = x[:1].expand(method.terms[0]["real_batch"], *x.shape[1:])
        yield "f", flops(lambda: term.nets[0](x))
        yield "r", flops(lambda: term.nets[0](real))
        fake, real = (term.nets[0](images).requires_grad_() for images in (x, real))
        yield "m", flops(lambda: mmd2(fake, real.detach(), term.kernel, 1.0, real_real=torch.zeros(())))
        yield "s", flops(lambda: self_mean(real, term.kernel, 1.0))


def frozen_cost(state: State, given: tuple[torch.Tensor, ...]) -> int:
    """Of the layers whose weights do not train: a gradient of those weights would cost as much."""
    frozen = {name.rpartition(".")[0] for name in state.frozen}
    with FlopCounterMode(display=False, depth=99) as counter:
        state.ema(*given)
    by_module = {name.partition(".")[2]: sum(found.values()) for name, found in counter.get_flop_counts().items()}
    return sum(by_module.get(name, 0) for name in frozen)


def formula(minimum: dict[str, float]) -> str:
    """{"F": 4, "e": 3, "c": -1} -> "4 F + 3 e - c"."""
    parts = [f"{'-' if k < 0 else '+'} {'' if abs(k) == 1 else abs(k)} {name}" for name, k in minimum.items()]
    return " ".join(" ".join(parts).split()).removeprefix("+ ")


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = "| method | least | least, here | counted | excess |\n|---|---|---|---|---|\n"
    lines = (f"| {name} | {sum_} | {a:.2f} | {b:.2f} | {b / a - 1:+.1%} |\n" for name, sum_, a, b in rows)
    return head + "".join(lines).replace("-0.0%", "0.0%").replace("+0.0%", "0.0%")


if __name__ == "__main__":
    print(table([measure(method) for method in METHODS]), end="")
