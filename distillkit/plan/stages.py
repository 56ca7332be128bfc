"""The recipes to run, parents first: what each one takes, or why that cannot be told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import attrs
import torch
from attrs import frozen

from distillkit.api import InputError
from distillkit.api.explained import explained
from distillkit.assets.folder import folder
from distillkit.assets.locate import wanted
from distillkit.disk import rundir
from distillkit.disk.rundir import RunDir
from distillkit.dry.meta import DEVICE, Live, blank
from distillkit.dry.parts import Card, checkpoints
from distillkit.networks.network_file import Carded
from distillkit.plan import dry
from distillkit.plan.dry import Cost
from distillkit.plan.roles import Role, roles
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run import lookup
from distillkit.run.nodes import Node, graph
from distillkit.run.refuse import chained
from distillkit.train.state import State


@frozen(kw_only=True)
class Stage:
    """One recipe of the chain; without `cost` it is `unknown` why."""

    recipe: Recipe
    run: RunDir | None  # of the same fingerprint, to reuse or to go on with
    missing: tuple[str, ...]  # assets
    chained: Recipe  # with the path of another recipe where `from` puts the result of that
    cards: dict[str, Card] = attrs.field(factory=dict)  # of the results it starts from, by that path
    unknown: str = ""
    remarks: tuple[str, ...] = ()  # on runs that are not reused
    cost: Cost | None = None
    slope: float = 0.0  # bytes that one more image in a micro-batch takes
    roles: tuple[Role, ...] = ()
    forward: float = 0.0  # FLOPs of the generator's forward pass on one image

    @property
    def finished(self) -> bool:
        return self.run is not None and self.run.ended

    @property
    def counted(self) -> Cost:
        """The cost of a stage that is not `unknown`."""
        if self.cost is None:
            raise ValueError(f"{self.recipe.name} could not be counted: {self.unknown}")
        return self.cost

    @property
    def flops(self) -> float:
        """FLOPs of the whole run."""
        return self.cost.flops / self.cost.batch * self.recipe.run.kimg * 1000 if self.cost else 0.0

    @property
    def kept_kimg(self) -> float:
        """Images between checkpoints, at most: there is one at each evaluation too."""
        run = self.recipe.run
        measured = [part.slot.every_kimg for part in self.recipe.evaluate if part.slot.every_kimg]
        return float(min(run.checkpoint_kimg or run.kimg / 5, run.kimg, *measured))

    def peak(self, micro: int) -> float:
        """Estimate the bytes alive at most with this micro-batch."""
        return self.counted.largest.peak + self.slope * (micro - self.counted.micro_batch)


def stages(path: Path, sets: Sequence[str], runs: Path, catalog: Catalog) -> list[Stage]:
    """Count every recipe of the graph, the asked one last. Raises RecipeProblems, UsageError where `run` does.

    Nothing is downloaded, trained or written, and no network has weights.
    """
    nodes, cards = graph(path, sets, catalog, None, runs=runs), dict[str, Card]()
    found = lookup.plan(nodes, rundir.known(runs))
    return [
        attrs.evolve(_stage(node, one.run, cards, catalog), remarks=tuple(lookup.remarks([node], [one])))
        for node, one in zip(nodes, found, strict=True)
    ]


def _stage(node: Node, run: RunDir | None, cards: dict[str, Card], catalog: Catalog) -> Stage:
    """Count one recipe; `cards` are of the results so far, by the path of their recipe, and gain this one's."""
    missing = tuple(asset.name for asset in wanted(node.recipe) if not (folder() / asset.name).is_file())
    recipe = chained(node.recipe, node.sources)
    needed = {name: cards[name] for name in checkpoints(recipe) if name in cards}
    bare = Stage(recipe=node.recipe, run=run, missing=missing, chained=recipe, cards=needed)
    try:
        with torch.random.fork_rng(devices=[]), blank() as live:
            state = dry.build(recipe, needed, catalog, live)
            cards[str(node.recipe.path.resolve())] = cast(Carded, state.generator).card
            return _measured(bare, state, live)
    except InputError as error:
        return attrs.evolve(bare, unknown=str(error).partition("\n")[0])
    except NotImplementedError as error:  # torch's, for what needs numbers
        return attrs.evolve(bare, unknown=f"a part of it cannot do without numbers: {str(error).partition('.')[0]}")
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:  # a plugin's, of made-up ones
        if explained(error):
            raise
        text = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        return attrs.evolve(bare, unknown=f"a part of it failed without numbers: {text}")


def _measured(stage: Stage, state: State, live: Live) -> Stage:
    run = stage.recipe.run
    micro = run.micro_batch or run.batch
    other = next((m for m in (micro // 2, micro * 2) if m and run.batch % m == m % stage.recipe.group == 0), micro)
    few, slope = dry.small(state, live, run.batch, micro), 0.0
    cost = dry.cost(state, live, run.batch, few)
    if other != micro:
        name = few.largest.name
        apart = dry.small(state, live, run.batch, other, [name]).largest.peak - few.largest.peak
        slope = apart / (other - micro)
    held = tuple(roles(state, live.bytes))
    return attrs.evolve(stage, cost=cost, slope=slope, roles=held, forward=_forward(state, live))


def _forward(state: State, live: Live) -> float:
    x = torch.empty(1, *state.dataset.shape, device=DEVICE, dtype=state.dtype)
    labels = torch.empty(1, state.layout.size, device=DEVICE) if state.layout.size else None
    live.restart()
    with torch.no_grad():
        state.networks["generator"](x, torch.empty(1, 1, 1, 1, device=DEVICE), labels)
    return live.flops
