"""What the numbers that a run logs as it trains mean, and how they go in a healthy run: a sentence for each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

# Of what the engine logs itself, and `record_logits`. Components tell of their own in `curves`.
GENERAL: dict[str, str] = {
    "grad_norm/*": "Norm of the gradient, before it is clipped: single spikes pass, a norm that grows for good comes "
    "before a collapse.",
    "weight/*": 'Factor of a loss with weight = "auto", which holds its gradient at its share of the method\'s: it '
    "settles. One that grows without end belongs to a loss that has nothing left to say.",
    "logit/fake*": "Mean logit of generated images, positive where they pass for real: close to that of real ones.",
    "logit/real*": "Mean logit of real images: a little above that of generated ones.",
    "logit/deviation*": "Deviation among the logits of a set, the unit in which those of generated and real images are "
    "to be near each other; at 0 the discriminator is dead.",
    "accuracy/fake*": "Share of generated images that the discriminator calls generated: about a half. Near 1 for long "
    "it wins, and has little to teach.",
    "accuracy/real*": "Share of real images that the discriminator calls real: about a half.",
    "lr/*": "Learning rate, as warm-up and schedule have it.",
    "img_per_sec": "Images a second: where it drops, something else uses the machine.",
    "skipped": "Updates so far that were left out, since a number was not finite: 0. More than a few say that the "
    "learning rate is too high.",
}


def of(part: object) -> dict[str, str]:
    """The sentences of a component or its class; none where `curves` is something else, of a plugin older than it."""
    told = getattr(part, "curves", None)
    return {str(name): str(text) for name, text in told.items()} if isinstance(told, dict) else {}


def sentence(name: str, *tables: Mapping[str, str]) -> str | None:
    """What the first of `tables` that knows the curve `name` says of it, then GENERAL; None: nobody does.

    The second component of one name logs as "loss/name.1": its sentence is that of "loss/name".
    """
    for table in (*tables, GENERAL):
        if key := key_of(name, table):
            return table[key]
    return None


def key_of(name: str, table: Mapping[str, str]) -> str | None:
    """The key of `table` that fits: the name itself, else the first pattern that does."""
    for known in (name, re.sub(r"\.\d+$", "", name)):
        if known in table:
            return known
    return next((key for key in table if fnmatchcase(name, key)), None)
