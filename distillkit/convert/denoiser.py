"""A base class for networks: D(x; sigma) of one that predicts something else, at a time of its own."""

from __future__ import annotations

import math
import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from distillkit.api import UsageError
from distillkit.convert.predictions import PREDICTIONS, coefficients
from distillkit.convert.schedules import Schedule, double


class Converted(nn.Module):
    """A denoiser around `predict`, which subclasses have: the network as its authors wrote it.

    It is asked at x_t = a x and t. Beyond the noise levels that it was trained on: above, it is asked at the highest,
    with x scaled to that; below, the score of the lowest is taken. The first such call warns. Inputs are cast to the
    dtype of the weights, at least float32; `compute_dtype` (None | bfloat16) is what the layers run in.
    """

    augment_dim = 0

    def __init__(
        self, resolution: int, channels: int, label_dim: int, schedule: Schedule, prediction: str,
        sigma_data: float = 0.5,
    ) -> None:  # fmt: skip
        """Raises UsageError for a prediction that there is not."""
        super().__init__()
        if prediction not in PREDICTIONS:
            raise UsageError(f"prediction = {prediction!r} is none of {', '.join(PREDICTIONS)}")
        self.resolution, self.channels, self.label_dim, self.sigma_data = resolution, channels, label_dim, sigma_data
        self.schedule, self.prediction = schedule, prediction
        self.sigma_min, self.sigma_max = schedule.sigma_min, schedule.sigma_max
        self.second_time = False  # true: `predict` takes sigma and r, float64 [N], by these names
        self.compute_dtype: torch.dtype | None = None
        self.asked_beyond = False

    def predict(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """The prediction [N,C,H,W] at x_t [N,C,H,W] and the schedule's time t float64 [N]; labels [N,L] or None."""
        raise NotImplementedError

    def forward(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None, *,
        r: Tensor | float | None = None,
    ) -> Tensor:  # fmt: skip
        """x [N,C,H,W], sigma [] | [N] | [N,1,1,1], labels [N,L], r as sigma -> D [N,C,H,W].

        Raises UsageError for r where there is no second time.
        """
        x, sigma, x_t, t, labels = self.native(x, sigma, labels)
        further = self.levels(sigma, r, x.shape[0])
        with self.layers(x):
            predicted = self.predict(x_t, t, labels, **further)
        return self.denoised(x, sigma, x_t, predicted)

    def native(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """x, sigma float64 [N,1,1,1] or [1,1,1,1], x_t, t float64 [N] and labels, as `predict` takes them."""
        # A frozen teacher's weights may be bfloat16 (run.teacher_dtype); its images are never rounded to that.
        dtype = torch.promote_types(next(self.parameters()).dtype, torch.float32)
        x, sigma = x.to(dtype), double(torch.as_tensor(sigma, device=x.device)).reshape(-1, 1, 1, 1)
        self._look(sigma)
        known = sigma.clamp(self.sigma_min, self.sigma_max)
        a = self.schedule.scales(known)[0] * (self.sigma_max / sigma).clamp(max=1)
        t = self.schedule.fed(known).flatten().expand(x.shape[0])  # not len, which a graph would keep as a number
        return x, sigma, a.to(dtype) * x, t, None if labels is None else labels.to(dtype)

    def levels(self, sigma: Tensor, r: Tensor | float | None, n: int) -> dict[str, Tensor]:
        """What `predict` is told of noise levels beside t: nothing, or sigma and r, float64 [N], where r None is sigma.

        Beyond the levels that the network was trained on r keeps its ratio to sigma, as x does.
        """
        if not self.second_time:
            if r is not None:
                raise UsageError("r was given to a network that takes no second noise level: second_time = true")
            return {}
        known = sigma.clamp(self.sigma_min, self.sigma_max)
        level = sigma if r is None else double(torch.as_tensor(r, device=sigma.device)).reshape(-1, 1, 1, 1)
        return {"sigma": known.flatten().expand(n), "r": (level * (known / sigma)).flatten().expand(n)}

    def denoised(self, x: Tensor, sigma: Tensor, x_t: Tensor, predicted: Tensor) -> Tensor:
        """D of x from what was predicted at x_t."""
        known = sigma.clamp(self.sigma_min, self.sigma_max)
        t = self.schedule.t(known)
        c_x, c_p = coefficients(self.prediction, self.schedule, self.schedule.scales(known), t)
        D = c_x.to(x.dtype) * x_t + c_p.to(x.dtype) * predicted.to(x.dtype)
        if not self.sigma_min:
            return D
        return x.lerp(D, (sigma / self.sigma_min).clamp(max=1).to(x.dtype) ** 2)  # D itself within the range

    def layers(self, x: Tensor) -> AbstractContextManager[object]:
        """Inside, layers run in `compute_dtype`."""
        return nullcontext() if self.compute_dtype is None else torch.autocast(x.device.type, self.compute_dtype)

    def _look(self, sigma: Tensor) -> None:
        """Warn once of noise levels that the network was not trained on; a GPU is not waited for after that."""
        if self.asked_beyond or torch.compiler.is_compiling() or sigma.is_meta:
            return
        if sigma.device.type != "cpu":
            self.asked_beyond = True  # one look at the first call: each is a wait
        low, high = float(sigma.min()), float(sigma.max())
        if low < self.sigma_min * (1 - 1e-6) or (math.isfinite(self.sigma_max) and high > self.sigma_max * (1 + 1e-6)):
            self.asked_beyond = True
            warnings.warn(
                f"noise levels {low:.3g} ... {high:.3g} were asked of a network that knows {self.sigma_min:.3g} ... "
                f"{self.sigma_max:.3g}: beyond, the nearest that it knows answers",
                stacklevel=3,
            )


class Encoding(Converted):
    """One whose encoder is a discriminator as well: subclasses give its layers, the last of which is the middle."""

    def encoder_features(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> list[Tensor]:
        """Outputs [N,c,h,w] of the encoder's layers, finest first; no decoder runs."""
        raise NotImplementedError

    def denoised_features(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """D [N,C,H,W] and what `encoder_features` gives, from one pass."""
        raise NotImplementedError

    def encoder(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """Logits [N,1,h,w]: the mean over channels of the middle."""
        return self.encoder_features(x, sigma, labels)[-1].mean(1, keepdim=True)

    def encoder_decoder(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """D [N,C,H,W] and those logits, from one pass."""
        D, maps = self.denoised_features(x, sigma, labels)
        return D, maps[-1].mean(1, keepdim=True)
