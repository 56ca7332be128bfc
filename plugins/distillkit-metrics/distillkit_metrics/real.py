"""The real images of a run, measured once: what generated ones are compared with, and what real ones score there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distillkit.api import Dataset, Features
from distillkit_metrics import embed, floors
from distillkit_metrics.layers import Layers, Near
from distillkit_metrics.manifold import Measured, mean
from distillkit_metrics.memorised import DOUBLE, NEAR, Memory
from distillkit_metrics.pixels import Content, measured_set
from distillkit_metrics.statistics import Moments, extrapolated, principal_axes
from distillkit_metrics.strata import asks_for_classes, chosen, class_of, fewest, strata

NEIGHBOURS = 10_000  # training images at most that neighbours and KID are taken among: their cost is the square of it
KNOWING = 4.0  # spreads of the floor by which held-out images lie beyond it
SPATIAL_AXES = 64  # principal axes of the middle layer that sFD keeps


class Real:
    """Training and held-out images in `features`, for comparing `n` generated ones with them."""

    def __init__(
        self,
        features: Features,
        train: Dataset,
        held_out: Dataset | None,
        n: int,
        k_precision: int,
        k_coverage: int,
        extrapolate: bool = False,
    ) -> None:
        self.features, self.n, self.extrapolate = features, n, extrapolate
        self.classes, self.asks_for_classes = class_of(train), asks_for_classes(train)
        step = -(-len(train) // NEIGHBOURS)
        self._stratify(len(train) + len(held_out or ()), step)
        content = Content(train)
        by_name = measured_set(features, train, content)
        self.digest = content.hexdigest()
        self.net = embed.Layers(features, {name: layer.shape[1] for name, layer in by_name.items()})
        self.axes = principal_axes(by_name["spatial"], SPATIAL_AXES) if "spatial" in by_name else None
        self.train = self.layers(by_name, self.classes)
        self.moments = self.train.moments()
        self.near = Near(self.train[::step], self.shares, k_precision, k_coverage)
        self.test_moments: dict[str, Moments] = {}
        self.agreement: tuple[float, float] | None = None
        self.test = None if held_out is None else self._measure_held_out(held_out)
        self.memory = Memory(self.train.main, self.train.groups, None if self.test is None else self.test.main)
        self.floors = self._floors(k_precision, k_coverage)

    def _stratify(self, pool: int, step: int) -> None:
        """Strata that hold two images in every sample that is compared, those of the floors included."""
        counts = torch.bincount(self.classes)
        smallest = min(self.n, *(min(floors.sides(self.n, len(self.classes), min(pool, most)))
                                 for most in (floors.POOL, floors.PAIRED_POOL)))  # fmt: skip
        near = torch.bincount(self.classes[::step], minlength=len(counts))
        self.of_class, self.shares = strata(counts, torch.minimum(fewest(counts, smallest), near))

    def asked(self, seed: int) -> Tensor:
        """Training images [n] whose labels to generate by, in the proportions of the strata."""
        return chosen(self.of_class[self.classes], self.of_class, self.n, seed)

    def labels(self, train: Dataset, seed: int) -> Tensor | None:
        """Labels [n,L] of those."""
        return train.labels(self.asked(seed))

    def layers(self, by_name: dict[str, Tensor], classes: Tensor | None) -> Layers:
        """Features by name as layers by distance, of images of `classes` [N]; None: all of one stratum."""
        groups = torch.zeros(len(by_name["penultimate"]), dtype=torch.int64)
        by_distance = {"fd": by_name["penultimate"]}
        if self.axes is not None:
            by_distance["sfd"] = by_name["spatial"] @ self.axes
        return Layers(by_distance, groups if classes is None else self.of_class[classes])

    def _measure_held_out(self, held_out: Dataset) -> Layers:
        by_name, classes = measured_set(self.features, held_out), class_of(held_out)
        layers = self.layers(by_name, classes)
        self.test_moments = layers.moments()
        if asks_for_classes(held_out) and "logits" in by_name:
            self.agreement = mean(by_name["logits"].argmax(1) == classes, layers.groups)
        return layers

    def compare(self, found: Tensor, seed: int) -> tuple[Layers, Measured]:
        """Layers of images with features `found` [n,D] by `net`, asked for by `seed`, and all metrics with errors."""
        by_name = self.net.apart(found)
        classes = self.classes[self.asked(seed)] if self.asks_for_classes else None
        fake = self.layers(by_name, classes)
        metrics = fake.distances(self.moments) | self.near.compare(fake)
        if self.test is not None:
            metrics |= {f"{name}_test": value for name, value in fake.distances(self.test_moments).items()}
        if classes is not None and "logits" in by_name:
            metrics["label_agreement"] = mean(by_name["logits"].argmax(1) == classes, fake.groups)
        metrics |= self.memory.compare(fake.main, fake.groups)
        if self.extrapolate:
            metrics |= self._extrapolated(fake, metrics)
        return fake, metrics

    def _extrapolated(self, fake: Layers, metrics: Measured) -> Measured:
        return {
            f"{name}_inf": (extrapolated(layer, self.moments[name], fake.groups), metrics[name][1])
            for name, layer in fake.by_distance.items()
        }

    @property
    def told(self) -> str:
        """How the floors were found."""
        pool = len(self.train) + len(self.test or ())
        first, second = floors.sides(self.n, len(self.train), min(pool, floors.POOL))
        rule = f"c (1/n + 1/m), c by {floors.SPLITS} disjoint splits of {pool} real images, {first} against {second}"
        return f"{rule}; ceilings: {floors.NEIGHBOURS} such splits" if self.rules else "too few real images"

    def knowing(self) -> list[str]:
        """A remark where the features put held-out images further away than training images: they know these."""
        if self.test is None or not self.rules:
            return []
        distances, sizes = self.test.distances(self.moments), (len(self.test), len(self.train))
        return [
            f"held-out images have {name} {value:.3g} where others of their number have {mean:.3g} +- {sd:.2g}: these "
            "features know the training images, and no unseen image comes near the floor"
            for name, (value, _) in distances.items()
            for mean, sd in [self.rules[name].at(*sizes)]
            if value > mean + KNOWING * sd
        ]

    def _floors(self, k_precision: int, k_coverage: int) -> dict[str, float]:
        """What real images score, by "<metric>_floor" or "<metric>_ceiling", with spreads under "..._sd"."""
        pool = self.train if self.test is None else self.train + self.test
        n, m, near = self.n, len(self.train), len(self.near.real)
        low: Measured = {"near_train": _share(NEAR, self.memory.unseen, n), "duplicates": _share(DOUBLE, n, n)}
        high: Measured = {} if self.agreement is None else {"label_agreement": self.agreement}
        self.rules: dict[str, floors.Rule] = {}
        smallest = min(floors.sides(n, m, min(len(pool), floors.PAIRED_POOL)))
        if smallest >= 2 * len(self.shares):
            self.rules = floors.distance_rules(pool, n, m)
            for name, rule in self.rules.items():
                low |= {name: rule.at(n, m)} | ({f"{name}_inf": rule.at(math.inf, m)} if self.extrapolate else {})
                low |= {f"{name}_test": rule.at(n, len(self.test))} if self.test else {}
            low["kid"] = floors.kid_rule(pool, self.shares, n, near).at(n, near)
        if smallest > max(k_precision, k_coverage):
            high |= floors.ceilings(pool, n, near, k_precision, k_coverage)
        named = {f"{name}_floor": value for name, value in low.items()}
        named |= {f"{name}_ceiling": value for name, value in high.items()}
        return {name: value for name, (value, _) in named.items()} | {
            f"{name}_sd": sd for name, (_, sd) in named.items()
        }


def _share(p: float, *sizes: int) -> tuple[float, float]:
    """A share and its spread, where both its threshold and itself are found on so many images."""
    return p, math.sqrt(p * (1 - p) * sum(1 / n for n in sizes))
