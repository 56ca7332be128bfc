"""Further inputs of a network, a second time and a guidance scale: what they add is zero until they train."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from distillkit.api import UsageError

FREQUENCIES = 16  # of each number; a sine and a cosine each
FINE = 100.0  # a noise level is multiplied by it: below a hundredth levels are told apart as they are, not by ln


class Further(nn.Module):
    """Numbers of each image [N,numbers] -> [N,width], to be added to a network's embedding.

    Its last layer is zero at first, so a network with it computes what one without does: a student may start from the
    weights of a teacher that lacks it, and nobody has to allow these weights by name.
    """

    def __init__(self, width: int, numbers: int = 1, hidden: int = 64) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2 * FREQUENCIES * numbers, hidden), nn.Linear(hidden, width)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, values: Tensor) -> Tensor:
        """values [N,numbers], of any size: what is fed are waves of their asinh, a logarithm that knows 0."""
        dtype = self.first.weight.dtype
        wide = torch.promote_types(dtype, torch.float32)  # bfloat16 would round the angles
        omega = math.pi * 2.0 ** torch.linspace(-1, 3, FREQUENCIES, dtype=wide, device=values.device)
        angles = (torch.asinh(values.to(wide))[:, :, None] * omega).flatten(1)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1).to(dtype)
        added: Tensor = self.last(nn.functional.silu(self.first(waves)))
        return added

    @property
    def silent(self) -> bool:
        """Whether it adds nothing yet."""
        return self.last.weight.is_meta or not (self.last.weight.any() or self.last.bias.any())


class FurtherInputs(nn.Module):
    """A second noise level r and the scale of guidance, the last entry of labels: those that a network is made with."""

    def __init__(self, width: int, label_dim: int, *, second_time: bool = False, guidance: bool = False) -> None:
        """`width` of the embedding; `label_dim` with the scale. Raises UsageError for labels without room for it."""
        super().__init__()
        if guidance and not label_dim:
            raise UsageError("guidance = true, but there are no labels: the last entry of each row is the scale")
        self.classes = label_dim - guidance  # entries of labels that are left
        self.second = Further(width, 2) if second_time else None
        self.scale = Further(width) if guidance else None

    def split(self, labels: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """labels [N,L] -> those without the scale, None where nothing is left, and the scale [N,1]; None: zeros."""
        if labels is None or self.scale is None:
            return labels, None
        return labels[:, :-1] if self.classes else None, labels[:, -1:]

    def forward(self, sigma: Tensor, r: Tensor | float | None, scale: Tensor | None) -> Tensor | None:
        """What is added to the embedding, [N,width] or [1,width]; None: nothing.

        sigma [N] or [1]; r anything that has as many values, None: sigma; scale as `split` gives it. Raises UsageError
        for r where there is no second time.
        """
        added = None
        if self.second is not None:
            levels = (sigma if r is None else torch.as_tensor(r, dtype=sigma.dtype, device=sigma.device)).reshape(-1)
            levels, sigma = torch.broadcast_tensors(levels, sigma)
            added = self.second(torch.stack([FINE * levels, 1 - levels / sigma.clamp(min=1e-9)], dim=1))
        elif r is not None:
            raise UsageError("r was given to a network that takes no second noise level: second_time = true makes one")
        if self.scale is not None:
            scale = sigma.new_zeros(1, 1) if scale is None else scale
            guided = self.scale(scale)
            added = guided if added is None else added + guided
        return added
