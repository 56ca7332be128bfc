"""What the engine costs: an iteration of SiD at the size of recipes/digits_sid.toml, beside a loop written by hand.

Usage: OMP_NUM_THREADS=1 python benchmarks/step_overhead.py [--repeats 100]
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from distillkit.api import Choice
from distillkit.networks import network_file
from distillkit.noise import edm_weight
from distillkit.plan.pairs import ratio
from distillkit.recipe import read
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.train.build import build
from distillkit.train.iterate import iterate
from distillkit.train.state import State

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
TARGET = 1.03


class ByHand:
    """The same algorithm with the same networks; plain noise, no check for finite numbers, nothing recorded."""

    def __init__(self, state: State, shared: bool, fused: bool | None) -> None:
        self.shared, self.loss, self.n = shared, state.recipe.generator_loss.config, state.batch
        self.shape = (state.batch, *state.dataset.shape)
        self.eye, self.phi = torch.eye(state.dataset.label_dim), state.teacher.network
        self.G, self.psi = (copy.deepcopy(state.networks[name]) for name in ("generator", "fake_score"))
        self.ema = copy.deepcopy(state.ema)
        self.opt_G, self.opt_psi = (
            torch.optim.Adam(network.parameters(), lr=s.lr, betas=s.betas, eps=s.eps, fused=fused)
            for network, s in ((self.G, state.settings["generator"]), (self.psi, state.settings["fake_score"]))
        )
        self.G.train().requires_grad_(True)
        self.psi.train().requires_grad_(True)

    def iterate(self) -> None:
        (self.joint if self.shared else self.alternate)()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.G.parameters()), 0.01)

    def generate(self) -> tuple[Tensor, Tensor]:
        labels = self.eye[torch.randint(len(self.eye), (self.n,))]
        return self.G(2.5 * torch.randn(self.shape), torch.full((self.n, 1, 1, 1), 2.5), labels), labels

    def sigma(self, mean: float, std: float) -> Tensor:
        return (mean + std * torch.randn(self.n, 1, 1, 1)).exp()

    def sid(self, x: Tensor, x_sigma: Tensor, sigma: Tensor, labels: Tensor, D_fake: Tensor) -> Tensor:
        D_real = self.phi(x_sigma, sigma, labels)
        w = (x - D_real).detach().abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=self.loss.w_min)
        gap = D_real - D_fake
        return (self.loss.lsg * gap * ((D_real - x) - self.loss.alpha * gap) / w).sum() / self.n

    def alternate(self) -> None:
        c = self.loss
        with torch.no_grad():
            x, labels = self.generate()
        self.psi.train().requires_grad_(True)
        sigma = self.sigma(c.P_mean, c.P_std)
        D = self.psi(x + sigma * torch.randn(self.shape), sigma, labels)
        self.opt_psi.zero_grad()
        ((edm_weight(sigma) * (D - x) ** 2).sum() / self.n).backward()
        self.opt_psi.step()
        self.psi.eval().requires_grad_(False)
        x, labels = self.generate()
        sigma = self.sigma(c.G_P_mean, c.G_P_std)
        x_sigma = x + sigma * torch.randn(self.shape)
        self.opt_G.zero_grad()
        self.sid(x, x_sigma, sigma, labels, self.psi(x_sigma, sigma, labels)).backward()
        self.opt_G.step()

    def joint(self) -> None:
        c = self.loss
        graph, labels = self.generate()
        x = graph.detach().requires_grad_()
        sigma = self.sigma(c.G_P_mean, c.G_P_std)
        x_sigma = x + sigma * torch.randn(self.shape)
        D_fake = self.psi(x_sigma, sigma, labels)
        self.opt_psi.zero_grad()
        self.opt_G.zero_grad()
        critic = (edm_weight(sigma) * (D_fake - x.detach()) ** 2).sum() / self.n
        critic.backward(inputs=list(self.psi.parameters()), retain_graph=True)
        self.sid(x, x_sigma, sigma, labels, D_fake).backward(inputs=[x])
        graph.backward(x.grad)
        self.opt_psi.step()
        self.opt_G.step()


def teacher(folder: Path, catalog: Catalog) -> None:
    """The network of digits_teacher.toml with random weights."""
    recipe = read(RECIPES / "digits_teacher.toml", (), catalog)
    network: nn.Module = network_file.new_network(recipe.generator.network, 8, 1, 10)
    network_file.save(folder, network, {})


def taught(recipe: Recipe, folder: Path) -> Recipe:
    """A recipe of digits with the teacher that lies in a folder; one that has none as it is."""
    choice = recipe.teacher_score
    if not isinstance(choice, Choice):
        return recipe
    choice = attrs.evolve(choice, config=attrs.evolve(choice.config, checkpoint=str(folder)))
    return attrs.evolve(recipe, teacher_score=choice)


def make_state(folder: Path, shared: bool) -> State:
    """digits_sid.toml, ready to train."""
    catalog = Catalog.installed()
    teacher(folder, catalog)
    sets = (f"generator_loss.shared_forward={str(shared).lower()}", "run.threads=1", 'run.device="cpu"')
    return build(taught(read(RECIPES / "digits_sid.toml", sets, catalog), folder), catalog)


def measure(loops: dict[str, Callable[[], None]], repeats: int) -> dict[str, np.ndarray]:
    """CPU and wall milliseconds [repeats,2] of each loop, one iteration of each in turn, in changing order."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    order = list(loops)
    for i in range(repeats + 5):
        for name in order[i % len(order) :] + order[: i % len(order)]:
            cpu, wall = time.process_time(), time.perf_counter()
            loops[name]()
            times[name].append((1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)))
    return {name: np.array(found[5:]) for name, found in times.items()}  # the first ones warm up


def report(shared: bool, repeats: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        state = make_state(Path(folder), shared)
    hand, default = ByHand(state, shared, fused=True), ByHand(state, shared, fused=None)
    loops = {"engine": lambda: iterate(state), "by hand": hand.iterate, "by hand, default Adam": default.iterate}
    times = measure(loops, repeats)
    print(f"SiD, {'one joint turn' if shared else 'alternating turns'}, {repeats} rounds")
    for name, found in times.items():
        print(f"  {name:22}  {np.median(found[:, 0]):7.2f} ms CPU   {np.median(found[:, 1]):7.2f} ms wall")
    reached = True
    for name in list(loops)[1:]:
        of = ratio(list(zip(times["engine"][:, 0], times[name][:, 0], strict=True)))
        middle, low, high = of.median, of.low, of.high
        print(f"  engine / {name:22}  {middle:.3f}   95 %: {low:.3f} ... {high:.3f}")
        reached &= name != "by hand" or middle <= TARGET
    return reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=100, help="rounds (%(default)s)")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    reached = [report(shared, repeats) for shared in (False, True)]
    print(f"target: engine / by hand <= {TARGET}: {'reached' if all(reached) else 'missed'}")


if __name__ == "__main__":
    main()
