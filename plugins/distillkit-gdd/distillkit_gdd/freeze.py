"""Which parameters GDD-I leaves as the teacher had them, by name."""

from __future__ import annotations

from collections.abc import Iterable

PLACES = ("block", "up", "down", "in")  # the residual blocks of a U-Net
PARTS = {0: (), 1: ("conv", "proj"), 2: ("conv", "proj", "qkv"), 3: ("conv", "proj", "qkv", "skip")}


def frozen_names(names: Iterable[str], level: int) -> set[str]:
    """The frozen ones of `names` at a level 0 (none), 1 (GDD-I), 2 or 3.

    Level 1: convolutions within residual blocks and the output of attention. Norms, noise and label embedding, qkv,
    skips, the first and the last layer train. Source: arXiv:2405.20750, in the form of its code.
    """
    return {
        name for name in names if any(place in name for place in PLACES) and any(part in name for part in PARTS[level])
    }
