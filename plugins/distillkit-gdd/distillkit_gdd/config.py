"""The constants of GDD's discriminator, with the published values as defaults."""

from __future__ import annotations

from distillkit.api import (
    Backbone,
    Choice,
    Optimizer,
    Use,
    and_,
    deep_iterable,
    field,
    frozen,
    ge,
    gt,
    in_,
    lt,
    min_len,
)


@frozen(kw_only=True)
class GddConfig:
    backbones: tuple[Choice[Backbone], ...] = field(default=(Use("random-pyramid"),), validator=min_len(1))
    """frozen networks whose feature maps the discriminator sees"""
    loss: str = field(default="non-saturating", validator=in_(("non-saturating", "hinge")))  # of the GAN
    reduction: str = field(default="sum", validator=in_(("sum", "mean")))
    """of losses over the batch; "sum": the authors' code's, per GPU"""
    r1_gamma: float = field(default=1e-4, validator=ge(0))  # gamma of R1; 0: no R1
    r1_every: int = field(default=16, validator=ge(1))  # iterations between updates by R1
    # the heads
    projection: int = field(default=64, validator=ge(1))  # channels of the finest projected map
    width: int = field(default=512, validator=ge(8))  # channels of the heads at 8x8
    end_size: int = field(default=8, validator=ge(1))  # pixels at which the last convolution sits
    embedding: int = field(default=320, validator=ge(1))  # width of a label's embedding
    cmap: int = field(default=64, validator=ge(1))  # channels in which images meet the label's embedding
    # their optimizer, Adam, before the correction for lazy R1
    lr: float = field(default=1e-4, validator=gt(0))  # learning rate of the discriminator; 4e-5: FFHQ, AFHQv2, ImageNet
    betas: tuple[float, float] = field(default=(0.0, 0.99), validator=deep_iterable(and_(ge(0), lt(1))))
    """decay per update of the averages of the gradient and of its square"""
    eps: float = field(default=1e-8, validator=gt(0))  # added to the root of the squared gradient
    warmup_kimg: float = field(default=0.0, validator=ge(0))  # images in which lr rises linearly from 0
    schedule: str = field(default="constant", validator=in_(("constant", "cosine")))  # of lr after the warm-up
    decay_from: float = field(default=0.0, validator=ge(0))  # "cosine": share of the run after which lr falls
    final_lr: float = field(default=0.0, validator=ge(0))  # "cosine": lr at the end, as a share of lr

    @property
    def depends_on_kimg(self) -> bool:
        return self.optimizer().depends_on_kimg

    def optimizer(self) -> Optimizer:
        """D's optimizer with the correction for `r1_every` + 1 updates in `r1_every` iterations (arXiv:1912.04958)."""
        ratio = self.r1_every / (self.r1_every + 1) if self.r1_gamma else 1.0
        return Optimizer.of(self, lr=self.lr * ratio, betas=tuple(beta**ratio for beta in self.betas))
