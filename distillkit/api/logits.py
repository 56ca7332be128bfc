"""A discriminator's logits, logged alike by every method that has one, so that `[run.guard]` can read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from distillkit.api.state import State


def record_logits(state: State, fake: Tensor, real: Tensor, name: str = "") -> None:
    """Report the logits of generated and of real images, of any shape, positive where an image is taken for real.

    `name`: of an auxiliary loss with a discriminator of its own, so that its numbers stand beside the method's.
    """
    end = f"/{name}" if name else ""
    state.record(f"logit/fake{end}", fake.detach().mean())
    state.record(f"logit/real{end}", real.detach().mean())
    # Two sets may differ in their mean alone: the deviation within each says whether it looks at its images at all.
    state.record(f"logit/deviation{end}", (fake.detach().std() + real.detach().std()) / 2)
    state.record(f"accuracy/fake{end}", (fake.detach() < 0).double().mean())
    state.record(f"accuracy/real{end}", (real.detach() > 0).double().mean())
