"""Which way a metric improves."""

from __future__ import annotations

from collections.abc import Mapping

# Words of names, for results that do not tell: of 0.1.0, and of plugins that were written for it.
HIGHER = {
    "precision", "recall", "density", "coverage", "label_agreement", "accuracy", "inception_score",
    "on_mode", "modes_covered",
}  # fmt: skip
LOWER = {"fd", "sfd", "fid", "sfid", "kid", "mmd", "sw2", "w2", "nll", "mse", "mae", "loss", "error", "distance"}


def higher_is_better(metric: str, told: Mapping[str, str]) -> bool | None:
    """Tell whether higher is better, None: unknown or neither; `told`: what results say, "higher", "lower", "none"."""
    if metric in told:
        return {"higher": True, "lower": False}.get(told[metric])
    return _by_name(metric)


def _by_name(metric: str) -> bool | None:
    """Look up the name after the slash, else its first word, else its last: "frechet/fd_test", "x/mean_error"."""
    name = metric.rpartition("/")[2].lower()
    words = name.split("_")
    for part in (name, words[0], words[-1]):
        if part in HIGHER:
            return True
        if part in LOWER:
            return False
    return None
