"""Warm-up, stable, decay: lr as it is for most of the run, then down."""

from __future__ import annotations

from typing import Literal

from distillkit.api import Schedule, field, frozen, ge, gt, le


class WarmupStableDecay(Schedule):
    """lr stays as it is until the last `decay` of the run, and falls to `final` of itself there.

    A run can be trained for longer from its checkpoint before the decay. The warm-up is the engine's `warmup_kimg`.
    Source: arXiv:2404.06395, Section 4; 1 - sqrt: arXiv:2405.18392, Eq. (1).
    """

    @frozen(kw_only=True)
    class Config:
        decay: float = field(default=0.2, validator=[gt(0), le(1)])  # share of the run, at its end, in which lr falls
        final: float = field(default=0.0, validator=[ge(0), le(1)])  # lr at the end, as a share of lr
        shape: Literal["sqrt", "linear"] = "sqrt"  # how it falls: as 1 - sqrt(t) or as 1 - t, t from 0 to 1

        @property
        def depends_on_kimg(self) -> bool:
            """Where lr falls is known from the end."""
            return True

    config: Config

    def factor(self, nimg: int, total: int) -> float:
        """1, then down to `final`."""
        start = (1 - self.config.decay) * total
        t = min(max(nimg - start, 0) / max(total - start, 1e-9), 1.0)
        return 1 - (1 - self.config.final) * (t**0.5 if self.config.shape == "sqrt" else t)
