"""Which numbers may stand in one table: those that were measured alike, by what their components told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Facts = Mapping[str, str]  # of one evaluate component: protocol, images, seeds, features, reference ...
LENGTH = 48  # characters of a fact that are shown: a name and the beginning of a hash
# Facts of one network, or of the real images beside it, and not of how numbers were taken.
OWN = ("network", "floor", "ceiling")


def differing(told: Sequence[Facts]) -> list[str]:
    """Facts that two or more of these tell, and not alike."""
    keys = [key for facts in told for key in facts if key not in OWN]
    return [key for key in dict.fromkeys(keys) if len({facts[key] for facts in told if key in facts}) > 1]


def why_not(ours: Facts, theirs: Facts) -> str:
    """Why numbers behind which `theirs` stand are not shown beside ours; "": they may be.

    Numbers of which nothing is told stand beside others of which nothing is told.
    """
    if ours and not theirs:
        return "nothing tells how they were measured"
    return "; ".join(f"{key}: {shown(theirs[key])}, not {shown(ours[key])}" for key in differing([ours, theirs]))


def shown(fact: str) -> str:
    """The beginning of a fact in quotes."""
    return repr(fact if len(fact) <= LENGTH else f"{fact[: LENGTH - 3]}...")


def component(metric: str) -> str:
    """The evaluate component of a metric: "frechet" of "frechet/fd"."""
    return metric.partition("/")[0]
