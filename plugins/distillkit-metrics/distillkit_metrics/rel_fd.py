"""Metric `rel-fid`: the student against its own teacher, both started from the same noise."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.api import Choice, Draw, Evaluate, Features, Sample, State, UsageError, Use, field, frozen, ge, hookimpl
from distillkit_metrics.facts import drawn
from distillkit_metrics.manifold import mean
from distillkit_metrics.pixels import measured
from distillkit_metrics.statistics import distance_of, moments
from distillkit_metrics.strata import chosen, class_of, fewest, strata


class RelFid(Evaluate):
    """Frechet distance between student and teacher from the same noise: rel-FID (arXiv:2405.20750).

    It says how far the student is from imitating its teacher, not how good it is. `distance` is the mean distance per
    image, sqrt(mean over pixels). Both are of the features given, so an FID only if those are Inception's.
    """

    better = {"fd": "lower", "distance": "lower"}
    means = {
        "fd": "Frechet distance between student and teacher: how far it is from imitating, not how good it is.",
        "distance": "Mean distance between the two images that student and teacher draw from the same noise.",
    }

    tiny = {"images": 24}

    @frozen(kw_only=True)
    class Config:
        features: Choice[Features] = Use("digits-classifier")  # the feature network
        sampler: Choice[Sample] = Use("heun")  # of the teacher
        images: int = field(default=1000, validator=ge(2))  # generated, by student and teacher each
        seed: int = field(default=0, validator=ge(0))  # of the images

    @property
    def protocol(self) -> dict[str, str]:
        c = self.config
        told = drawn(c.images, range(c.seed, c.seed + 1), c.features, self.features, pixels="clamped to [-1,1]")
        return {"protocol": f"against the teacher, by {c.sampler.name}, from the same noise", **told}

    @hookimpl
    def setup(self, state: State) -> None:
        if state.teacher is None:
            raise UsageError("rel-fid compares with the teacher: the recipe needs a [teacher_score] table")
        self.features = self.config.features.build()
        self.features.prepare(state.dataset, state.held_out, state.cache)
        self.teacher: tuple[Tensor, Tensor] | None = None  # its images and their features, which never change

    @hookimpl
    def evaluate(self, state: State, draw: Draw) -> dict[str, float]:
        c, classes = self.config, class_of(state.dataset)
        counts = torch.bincount(classes)
        of_class, _ = strata(counts, fewest(counts, c.images))
        index = chosen(of_class[classes], of_class, c.images, c.seed)
        labels, groups = state.dataset.labels(index), of_class[classes[index]]
        if self.teacher is None:
            x = draw.teacher(c.sampler.build())(c.images, seed=c.seed, labels=labels).x
            self.teacher = x, measured(self.features, x)["penultimate"]
        x = draw(c.images, seed=c.seed, labels=labels).x
        own = measured(self.features, x)["penultimate"]
        fd, error = distance_of(own, moments(self.teacher[1]), groups)
        rms, spread = mean((x - self.teacher[0]).square().flatten(1).mean(1).sqrt(), groups)
        return {"fd": fd, "fd_sd": error, "distance": rms, "distance_sd": spread}
