"""Which way a metric improves."""

from __future__ import annotations

HIGHER = {
    "precision", "recall", "density", "coverage", "label_agreement", "accuracy", "inception_score",
    "on_mode", "modes_covered",
}  # fmt: skip
LOWER = {"fd", "sfd", "fid", "sfid", "kid", "mmd", "sw2", "w2", "nll", "mse", "mae", "loss", "error", "distance"}


def higher_is_better(metric: str) -> bool | None:
    """True, False, or None where the name does not tell; "frechet/fd_test" and "x/mean_error" are read by their words.

    The whole name after the slash is looked up first, then its first word, then its last.
    """
    name = metric.rpartition("/")[2].lower()
    words = name.split("_")
    for part in (name, words[0], words[-1]):
        if part in HIGHER:
            return True
        if part in LOWER:
            return False
    return None
