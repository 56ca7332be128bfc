"""How much of what a label adds to a teacher's images is right: 1 of an honest one, 1 / scale of a guided one."""

from __future__ import annotations

import math

import torch
from attrs import frozen
from torch import Tensor

from distillkit.teachercheck.asked import Ask, Trial
from distillkit.teachercheck.report import Finding

GUIDED = 0.85  # a weight below that is no accident of training
TOLD = 8  # classes, at most


@frozen(eq=False)
class Weight:
    """The w for which D_0 + w (D - D_0) is nearest to real images y, by least squares over images and levels.

    y - D is orthogonal to all that x and the label tell, if D is E[y | x, label]: then w is 1 whatever D_0 is.
    """

    above: Tensor  # <y - D_0, D - D_0> of each image, float64 [n]
    below: Tensor  # |D - D_0|^2

    @property
    def w(self) -> float:
        return float(self.above.sum() / self.below.sum()) if float(self.below.sum()) else math.nan

    @property
    def sd(self) -> float:
        """Standard error of w; infinite where nothing is added."""
        total = float(self.below.sum())
        return float((self.above - self.w * self.below).square().sum().sqrt()) / total if total else math.inf

    @property
    def guided(self) -> bool:
        """Whether it adds far more than is right."""
        return 0.05 < self.w and self.w + 3 * self.sd < GUIDED

    def rows(self, which: Tensor) -> Weight:
        """Of some images alone."""
        return Weight(self.above[which], self.below[which])


def weight(ask: Ask, trial: Trial) -> Weight:
    """Of what labels add, or, where there are none, of what the image adds to the mean of all."""
    labels, y, where = trial.real.labels, trial.real.y.double(), range(len(trial.levels))[-3:]
    above, below = torch.zeros(2, len(y), dtype=torch.float64)
    for i in where:
        D = ask(trial.noisy[i], trial.levels[i], labels).double()
        D_0 = trial.real.mean.double() if labels is None else ask(trial.noisy[i], trial.levels[i], None).double()
        above += ((y - D_0) * (D - D_0)).flatten(1).sum(1).cpu()
        below += (D - D_0).square().flatten(1).sum(1).cpu()
    return Weight(above, below)


def strangers(found: Weight, labels: Tensor) -> list[int]:
    """Classes whose label moves images away from real ones of that class; of labels that are no classes, [0] or []."""
    classes = labels.argmax(1).cpu() if one_hot(labels) else torch.zeros(len(labels), dtype=torch.long)
    groups = {int(k): found.rows(classes == k) for k in classes.unique()}
    return [k for k, of in groups.items() if of.w + 3 * of.sd < 0.05]


def mixed_up(ask: Ask, trial: Trial) -> Finding | None:
    """Labels that mean something else to the teacher, and are not merely counted from another one."""
    labels = trial.real.labels
    if labels is None or not (wrong := strangers(weight(ask, trial), labels)):
        return None
    classes = f"of {len(wrong)} classes ({', '.join(map(str, wrong[:TOLD]))}{', ...' * (len(wrong) > TOLD)})"
    return Finding(
        name="labels", found=f"with the label {classes if one_hot(labels) else 'they have'} its images are further "
        "from the real ones than without: to it that label means something else",
        change="compare the order of the classes, or the encoder of the words, with those that it was trained with",
    )  # fmt: skip


def one_hot(labels: Tensor) -> bool:
    """Whether each row is one class."""
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all())
