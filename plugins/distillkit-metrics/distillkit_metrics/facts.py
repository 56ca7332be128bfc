"""What every metric tells of its images and features."""

from __future__ import annotations

from distillkit.api import Choice, Features, Sample, State, UsageError

BLOCK = 50_000  # image seeds per `seed`


def drawn(
    images: int,
    blocks: range,
    choice: Choice[Features],
    features: Features,
    sampler: Choice[Sample] | None = None,
    pixels: str = "truncated to 8 bits",
) -> dict[str, str]:
    """Of `images` images from the start of each of `blocks`; of the teacher, where there is a `sampler`."""
    first = BLOCK * blocks.start
    more = f", and so in the next {len(blocks) - 1} blocks of {BLOCK}" if len(blocks) > 1 else ""
    return {
        **({"network": f"the teacher, by {sampler.name}"} if sampler else {}),
        "images": f"{images}, {pixels}",
        "seeds": f"{first}-{first + images - 1}{more}, one CPU generator per image",
        "features": f"{choice.name}, sha256 {features.digest or 'unknown'}",
    }


def check_teacher(sampler: Choice[Sample] | None, state: State) -> None:
    """Raises UsageError where a `sampler` asks to measure the teacher, and there is none."""
    if sampler is not None and state.teacher is None:
        raise UsageError("sampler measures the teacher: the recipe needs a [teacher_score] table")
