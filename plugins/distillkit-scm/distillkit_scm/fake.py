"""The optimizer of rCM's fake score, by its letters: AdamW."""

from __future__ import annotations

from distillkit.api import Optimizer, and_, deep_iterable, field, frozen, ge, gt, in_, lt


@frozen(kw_only=True)
class FakeScoreConfig:
    lr: float = field(default=4e-7, validator=gt(0))  # learning rate of the fake score; 14B: 1e-7
    betas: tuple[float, float] = field(default=(0.0, 0.999), validator=deep_iterable(and_(ge(0), lt(1))))
    """decay per update of the averages of the gradient and of its square"""
    weight_decay: float = field(default=0.01, validator=ge(0))  # pull of its weights towards 0
    warmup_kimg: float = field(default=0.0, validator=ge(0))  # images in which lr rises linearly from 0
    schedule: str = field(default="constant", validator=in_(("constant", "cosine")))  # of lr
    decay_from: float = field(default=0.0, validator=ge(0))  # "cosine": share of the run after which lr falls
    final_lr: float = field(default=0.0, validator=ge(0))  # "cosine": lr at the end, as a share of lr

    @property
    def depends_on_kimg(self) -> bool:
        return self.optimizer().depends_on_kimg

    def optimizer(self) -> Optimizer:
        """The fake score's."""
        return Optimizer.of(self, name="adamw")
