"""The two orders of SiD's updates: both losses in one turn, or a turn each."""

from __future__ import annotations

from distillkit.api import Turn


def joint(generator_after_kimg: float = 0.0) -> list[Turn]:
    """One turn for both, on the same images; up to the gate the fake score's alone."""
    alone = Turn(name="fake_score", trains=("fake_score",), losses=("critic_loss",), stop_kimg=generator_after_kimg)
    both = Turn(
        name="joint", trains=("fake_score", "generator"), losses=("critic_loss", "generator_loss"),
        start_kimg=generator_after_kimg,
    )  # fmt: skip
    return [alone, both] if generator_after_kimg else [both]


def alternating(generator_after_kimg: float = 0.0) -> list[Turn]:
    """The fake score's turn, then the generator's, on images of their own."""
    return [
        Turn(name="fake_score", trains=("fake_score",), losses=("critic_loss",)),
        Turn(name="generator", trains=("generator",), losses=("generator_loss",), start_kimg=generator_after_kimg),
    ]


def more_than(kimg: float) -> float:
    """`Turn.start_kimg` of a turn that waits until more than `kimg` were seen: half an image later. 0: at once."""
    return kimg + 0.0005 if kimg else 0.0
