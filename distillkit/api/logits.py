"""A discriminator's logits, logged alike by every method that has one, so that `[run.guard]` can read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from distillkit.api.state import State
    from distillkit.api.step import Step


def record_logits(state: State, fake: Tensor, real: Tensor, name: str = "", step: Step | None = None) -> None:
    """Report the logits [N, ...] of generated and of real images, positive where an image is taken for real.

    `name`: of an auxiliary loss with a discriminator of its own, so that its numbers stand beside the method's.
    `step`: what they were computed of, so that several processes report what one would.
    """
    end = f"/{name}" if name else ""
    state.record(f"logit/fake{end}", fake.detach().mean())
    state.record(f"logit/real{end}", real.detach().mean())
    # Two sets may differ in their mean alone: the deviation within each says whether it looks at its images at all.
    if step is None:
        deviation = (fake.detach().std() + real.detach().std()) / 2
    else:
        import torch

        logits = [x.detach().double().flatten(1) for x in (fake, real)]
        moments = step.mean(torch.stack([m for x in logits for m in (x.mean(1), x.square().mean(1))], 1))
        # Squares of what is far from 0 leave a rounding error in the place of 0: 1e-8 of the mean, see the guard.
        deviation = ((moments[1::2] - moments[::2].square()).clamp(min=0).sqrt()).mean()
    state.record(f"logit/deviation{end}", deviation)
    state.record(f"accuracy/fake{end}", (fake.detach() < 0).double().mean())
    state.record(f"accuracy/real{end}", (real.detach() > 0).double().mean())
