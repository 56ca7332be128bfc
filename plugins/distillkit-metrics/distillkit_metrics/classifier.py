"""A small classifier, trained once from a fixed seed, as the feature network for small data sets."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillkit.api import Dataset, Features, UsageError, added_later, field, frozen, ge
from distillkit_metrics import store
from distillkit_metrics.order import shuffled

VERSION = 1  # raise it when anything below changes what is trained: old caches are then left alone
WAITS = logging.getLogger("distillkit.metrics")
SHIPPED = Path(__file__).with_name("shipped")  # classifiers that everybody has, by the same names as in the cache
BATCH, LR, NOISE, DROPOUT, SMOOTHING = 128, 4e-3, 0.1, 0.2, 0.05
FEWEST = 50  # iterations that any data set gets


class Classifier(nn.Module):
    """Four convolutions and a 32-d bottleneck; x [n,C,H,W] -> the features by name."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1, stride=2), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        )  # fmt: skip
        self.penultimate = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(64 * 4 * 4, 32), nn.ReLU())
        self.logits = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        middle = self.conv(x)  # [n,64,H/2,W/2]
        penultimate = self.penultimate(F.adaptive_avg_pool2d(middle, 4).flatten(1))
        spatial = F.adaptive_avg_pool2d(middle, 2).flatten(1)
        return {"penultimate": penultimate, "spatial": spatial, "logits": self.logits(penultimate)}


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch adds up in one order on this machine, whatever the run's number of threads is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train(x: Tensor, classes: Tensor, iterations: int, seed: int) -> Classifier:
    """Train on images x [N,C,H,W] in [-1,1] with classes [N]; torch's global generator is left as it was."""
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]), one_thread():
        torch.default_generator.manual_seed(seed)  # weights, dropout and input noise; the CPU's only
        net = Classifier(x.shape[1], int(classes.max()) + 1)
        optimizer = torch.optim.AdamW(net.parameters(), lr=LR)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=iterations)
        for iteration in range(iterations):
            index = shuffled(seed, "digits-classifier", iteration * BATCH, BATCH, len(x))
            logits = net(x[index] + NOISE * torch.randn_like(x[index]))["logits"]
            optimizer.zero_grad()
            F.cross_entropy(logits, classes[index], label_smoothing=SMOOTHING).backward()
            optimizer.step()
            schedule.step()
    return net


def class_indices(dataset: Dataset) -> Tensor:
    """Class of every image, int64 [N], whether or not the data set hands out labels. Raises UsageError."""
    classes = dataset.classes(torch.arange(len(dataset)))
    if classes is None:
        raise UsageError(
            'features "digits-classifier" learn from classes, but the data set has none: '
            'use a labelled data set, or features that need no classes: "inception" or "torchscript" with a network'
        )
    return classes


class DigitsClassifier(Features):
    """Classifier of the training images: 32-d penultimate layer, 256-d pooled middle layer, logits.

    That of the digits is part of this distribution, so that everybody measures by the same one. For other data it is
    trained once (some seconds) and cached; another processor may come to other weights, so `digest` is of those. A few
    passes over the images are enough to tell classes apart, and too few to know the images: features that know them put
    unseen real images at twice the distance, and no generator comes near the floor.
    Always runs on the CPU in float32, so the numbers do not depend on the device.
    """

    tiny = {"iterations": 10}
    layers = ("penultimate", "spatial", "logits")

    @frozen(kw_only=True)
    class Config:
        iterations: int = field(default=600, validator=ge(10))  # of its training at most, 128 images each
        passes: int = field(default=10, validator=ge(1), metadata=added_later(10))
        """passes over the images at most, but 50 iterations at least: after many the network knows its images"""
        seed: int = field(default=0, validator=ge(0))  # of its training

    def prepare(self, dataset: Dataset, held_out: Dataset | None, cache: Path) -> None:
        """Take the classifier of these very training images as shipped or cached, or train it. Raises UsageError.

        Of images without content classes alone are looked for.
        """
        classes = class_indices(dataset).cpu()
        if classes.is_meta:
            return
        x = dataset.pixels(torch.arange(len(dataset))).float().cpu().contiguous()
        about = self._about(x, classes)
        name = f"digits-classifier-{about['key'][:16]}.safetensors"
        weights = store.load(SHIPPED / name) or store.load(cache / name)
        if weights is None:
            WAITS.info(
                "training the classifier of %s images that measures them: once, kept in %s", f"{len(x):,}", cache
            )
            weights = train(x, classes, about["iterations"], self.config.seed).state_dict()
            store.save(cache / name, weights, about)
        self.digest = store.digest(weights)
        with torch.device("meta"):  # no weights are drawn, so the global generator does not move
            net = Classifier(x.shape[1], int(classes.max()) + 1)
        net.load_state_dict(weights, assign=True)
        self.net = net.eval().requires_grad_(False)

    def _about(self, x: Tensor, classes: Tensor) -> dict[str, Any]:
        """The settings, and `key`: a hash of them and the images, by which trained weights are found again."""
        c, passes = self.config, self.config.passes * len(x) // BATCH
        settings = {
            "version": VERSION, "batch": BATCH, "lr": LR, "noise": NOISE, "dropout": DROPOUT, "smoothing": SMOOTHING,
            "iterations": min(c.iterations, max(passes, FEWEST)), "seed": c.seed, "images": list(x.shape),
        }  # fmt: skip
        key = hashlib.sha256(json.dumps(settings).encode())
        key.update(x.numpy().tobytes())
        key.update(classes.numpy().tobytes())
        return {**settings, "key": key.hexdigest()}

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Features of x [n,C,H,W] in [-1,1]: penultimate [n,32], spatial [n,256], logits [n,classes]."""
        with torch.no_grad():
            found: dict[str, Tensor] = self.net(x.float().cpu())
            return found
