"""What any teacher must do, whatever it knows: repeat itself, judge each image by itself, know more than nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import nn

from distillkit.teachercheck.asked import Ask, Real, error
from distillkit.teachercheck.report import Finding, Level

WORSE = 1.25  # errors of D in those of who knows nothing: beyond, it is no accident of few images
FALLS = 0.8  # an error in that at less noise, at least
RECITED = 0.02  # share of an error below which it is one of rounding sigma or numbers: images known by heart
ALONE = 1e-3  # of the images' spread, by which rows may differ between batches of other sizes
MODES = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.modules.batchnorm._BatchNorm)


def measured(ask: Ask, real: Real, levels: Sequence[float]) -> Iterator[Level]:
    """The errors at each noise level, on the same images."""
    mean = float(error(real.mean.expand_as(real.y), real.y).mean())
    for sigma in levels:
        x = real.noisy(sigma, f"{sigma:.6g}")
        wrong = float(error(ask(x, sigma, real.labels), real.y).mean())
        yield Level(sigma=sigma, error=wrong, nothing=float(error(x, real.y).mean()), mean=mean)


def finite(levels: Sequence[Level]) -> Iterator[Finding]:
    """Whether it says numbers."""
    sick = [f"{level.sigma:.3g}" for level in levels if not level.error < float("inf")]
    if sick:
        yield Finding(
            name="not finite", found=f"its images are not finite at sigma {', '.join(sick)}",
            change="look at the ends of its schedule: a division by 0, or an exponential of what is large",
        )  # fmt: skip


def steady(ask: Ask, real: Real, network: object) -> Iterator[Finding]:
    """Whether it says the same twice, and of an image by itself what it says of it among others."""
    x, labels = real.noisy(real.std, "steady")[:4], None if real.labels is None else real.labels[:4]
    D = ask(x, real.std, labels)
    left_on = sorted({type(m).__name__ for m in modules(network) if isinstance(m, MODES) and m.training})
    modes = f": {', '.join(left_on)} in training mode" if left_on else ""
    if not torch.equal(ask(x, real.std, labels), D):
        yield Finding(
            name="random", found=f"asked twice the same, it says something else{modes or ': is dropout left on?'}",
            change="call network.eval() when it is made ready, and draw no noise in it",
        )  # fmt: skip
        return
    alone = ask(x[:1], real.std, None if labels is None else labels[:1])
    if float(error(alone, D[:1]).max()) > ALONE * real.spread:
        yield Finding(
            name="rows", found=f"what it says of an image depends on the others of the batch{modes}",
            change="call network.eval() when it is made ready, and take no statistics over the batch",
        )  # fmt: skip


def modules(network: object) -> Iterator[nn.Module]:
    """The modules of a network; of none, none."""
    if isinstance(network, nn.Module):
        yield from network.modules()


def useful(levels: Sequence[Level], own: tuple[float, float], besides: bool) -> Iterator[Finding]:
    """Whether it knows more than nothing at every level, and whether its error rises with the noise at its `own`.

    `besides`: with a mistake undone.
    """
    # What undoes a mistake is known to some digits alone, which is not enough where there is hardly any noise.
    levels = [level for level in levels if not besides or level.nothing > 0.01 * level.mean]
    low = [level for level in levels if level.share > WORSE]
    if low:
        at = ", ".join(f"{level.sigma:.3g}" for level in low)
        worst = max(low, key=lambda level: level.share)
        yield Finding(
            name="worse than nothing",
            found=("with that undone its" if besides else "its") + f" images are further from the real ones than the "
            f"noisy image, or the mean of all, at sigma {at}: up to {worst.share:.3g} times",
            change="another conversion, data set or file than it was trained with, or too little training; none of "
            "the usual mistakes explains it" if not besides else "undo that first, then check again",
        )  # fmt: skip
        return
    for below, above in pairwise(level for level in levels if own[0] <= level.sigma <= own[1]):
        if above.error < FALLS * below.error and below.share > RECITED:
            yield Finding(
                name="shape",
                found=f"its error falls where the noise rises: {below.error:.3g} at sigma {below.sigma:.3g}, "
                f"{above.error:.3g} at {above.sigma:.3g}",
                change="look at how sigma becomes the network's time there",
            )  # fmt: skip
            return
