"""How fast published recipes train: images per second, memory, and the share of the device's peak, with each lever.

Run by gpu.py. Networks are of the published sizes with random weights, and images are random ones in memory: neither
files nor a teacher are needed, and no number of an image is looked at.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import attrs
import torch
from torch import Tensor

from distillkit.api import Dataset, Denoiser
from distillkit.dry import parts
from distillkit.networks import network_file
from distillkit.plan.speed import prompt
from distillkit.plan.stages import Stage, stages
from distillkit.recipe import choice_from_table, read
from distillkit.registry import Catalog
from distillkit.run import smoke
from distillkit.train.build import assemble, build
from distillkit.train.iterate import iterate
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
WARM_UP, ITERATIONS, SECONDS = 3, 20, 6.0  # not counted; measured, at most; and for so long, at most
IMAGES = 4096  # random ones, which stand for all


class Case(NamedTuple):
    """A published recipe with a batch that one GPU takes, and keys of [run] over it."""

    recipe: str
    batch: int
    run: dict[str, str | int | bool]


class Speed(NamedTuple):
    """What one case took; of an iteration, the median."""

    case: Case
    img_per_sec: float
    spread: float  # (largest - least) / median of iterations
    gib: float  # largest allocated; 0 on a CPU
    planned_gib: float  # what `plan` says of it; 0: not asked
    tflops: float  # counted in an iteration, per second; 0: not counted


class Random(Dataset):
    """Random images and labels of a shape."""

    def __init__(self, card: parts.Card) -> None:
        super().__init__(None)
        self.channels, self.resolution, self.label_dim = card["channels"], card["resolution"], card["label_dim"]
        self.shape = (self.channels, self.resolution, self.resolution)
        generator = torch.Generator().manual_seed(0)
        self.bytes = torch.randint(0, 256, (IMAGES, *self.shape), dtype=torch.uint8, generator=generator)

    def __len__(self) -> int:
        return IMAGES

    def images(self, index: Tensor) -> Tensor:
        return self.bytes[index].float() / 127.5 - 1

    def labels(self, index: Tensor) -> Tensor | None:
        return torch.eye(self.label_dim)[index % self.label_dim] if self.label_dim else None


def cases(levers: Mapping[str, str | int | bool]) -> list[Case]:
    """Each recipe in fp32, TF32 and bf16, then SiD in bf16 with each lever."""
    published = (("cifar10_uncond_sid", 256), ("cifar10_cond_sid2a_el", 256), ("cifar10_cond_dmd2", 256))
    plain: list[dict[str, str | int | bool]] = [{"precision": name} for name in ("bf16", "tf32", "fp32")]
    found = [Case(recipe, batch, run) for run in plain for recipe, batch in published]
    found += [Case("cifar10_uncond_sid", 256, {"precision": "bf16", lever: on}) for lever, on in levers.items()]
    every: dict[str, str | int | bool] = {"precision": "bf16", "compile": True, "channels_last": True}
    if "compile" in levers:
        found += [Case(recipe, batch, every) for recipe, batch in published]
    return [*found, *(Case("imagenet64_sid", 32, {"precision": name}) for name in ("bf16", "tf32"))]


def measure(case: Case, device: torch.device, small: bool) -> Speed:
    """Train the case for a few seconds; `small`: tiny networks in place of the published ones."""
    catalog = Catalog.installed()
    sets = [f"run.{key}={str(value).lower()}" for key, value in case.run.items()]
    path = RECIPES / f"{case.recipe}.toml"
    if small:
        with tempfile.TemporaryDirectory() as folder:
            recipe = smoke.small(read(path, sets, catalog=catalog), Path(folder), catalog)
            run = attrs.evolve(recipe.run, device=str(device))
            return timed(case, build(attrs.evolve(recipe, run=run), catalog), None)
    sets += [f"run.device={device}", f"run.batch={case.batch}", "run.micro_batch.remove=true"]
    sets += ["run.max_nonfinite=999999"]  # random weights
    with tempfile.TemporaryDirectory() as runs:
        stage = stages(path, sets, Path(runs), catalog)[-1]
    return timed(case, state_of(stage, device, catalog), stage)


def state_of(stage: Stage, device: torch.device, catalog: Catalog) -> State:
    """The live objects of a recipe whose files are not here."""
    first = next(parts.checkpoints(stage.chained))

    def card(name: str) -> parts.Card:
        return stage.cards[name] if name in stage.cards else parts.card_of(name, catalog)

    def load(path: str | Path) -> Denoiser:
        known = card(str(path))
        choice = choice_from_table("network", known["network"], catalog, where="the card of a network")
        network = network_file.new_network(choice, known["resolution"], known["channels"], known["label_dim"])
        return network.to(device)

    return assemble(prompt(stage.chained), catalog, device, Random(card(first)), load, Ranks())


def timed(case: Case, state: State, stage: Stage | None) -> Speed:
    """Iterations late in the run, when every turn is due; those that some turns leave out are counted as they come."""
    wait: Callable[[], None] = torch.cuda.synchronize if state.device.type == "cuda" else lambda: None
    state.nimg = max(state.total - state.batch * (WARM_UP + ITERATIONS), 0)
    period = max(turn.every for turn in state.turns)
    if state.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rounds: list[float] = []
    for i in range((WARM_UP + ITERATIONS) // period + 1):
        start = time.perf_counter()
        for _ in range(period):
            iterate(state)
        wait()
        rounds += [(time.perf_counter() - start) / period] if i * period >= WARM_UP else []
        if sum(rounds) * period > SECONDS:
            break
    middle = statistics.median(rounds)
    return Speed(
        case, state.batch / middle, (max(rounds) - min(rounds)) / middle,
        torch.cuda.max_memory_allocated() / 2**30 if state.device.type == "cuda" else 0.0,
        stage.counted.largest.peak / 2**30 if stage else 0.0, stage.counted.flops / middle / 1e12 if stage else 0.0,
    )  # fmt: skip


def table(speeds: list[Speed], peak: float) -> str:
    """Markdown; `peak`: TFLOP/s of the device in bf16, 0: not known."""
    head = "| recipe | batch | [run] | img/s | spread | GiB | GiB planned | TFLOP/s | of bf16 peak |"
    lines = [head, "|---" * 9 + "|"]
    for case, rate, spread, gib, planned, tflops in speeds:
        keys = ", ".join(f"{key} = {str(value).lower()}" for key, value in case.run.items())
        share = f"{tflops / peak:.0%}" if peak and tflops else "-"
        cells = case.recipe, case.batch, keys, f"{rate:,.0f}", f"{spread:.0%}", f"{gib:.1f}", f"{planned:.1f}"
        lines.append(f"| {' | '.join(map(str, cells))} | {tflops:.1f} | {share} |")
    return "\n".join(lines)
