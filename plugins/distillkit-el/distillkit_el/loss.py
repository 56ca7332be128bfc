"""The Embedding Loss: a supplementary term that pulls generated images towards real ones in random feature spaces.

    (a)  L = mean_i D_MMD^2(P_i, Q_i),   i = 1 ... K
    (b)  D_MMD^2(P, Q) = E k(p, p') - 2 E k(p, q) + E k(q, q')

P_i, Q_i: real and generated images as the frozen random network psi_i sees them; k a sum of RBF kernels of several
widths, in units of the bandwidth s2. K = copies times the number of `embeddings`; the paper's best: 4 x 4.
Source: arXiv:2604.22379, Sec. 3, after arXiv:2110.04181. Its equations' numbers and its App. B could not be had: the
letters are ours, and so are the choices that README.md lists.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import (
    INFINITE,
    AuxiliaryLoss,
    Choice,
    Embedding,
    Kernel,
    State,
    Step,
    Term,
    UsageError,
    Use,
    added_later,
    and_,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
    lt,
    min_len,
    optional,
)
from distillkit.mmd import Pooled, mean_at, mmd2
from distillkit_el.bandwidth import Bandwidths
from distillkit_el.features import RealFeatures, pull_back
from distillkit_el.modes import joint, per_class
from distillkit_el.networks import InBfloat16, UnitLength, draw
from distillkit_el.space import space_of


class EmbeddingLoss(AuxiliaryLoss):
    """Embedding Loss: squared MMD to real images, mean over random feature spaces (arXiv:2604.22379)."""

    tiny = {"real_batch": 16}

    curves: ClassVar[dict[str, str]] = {
        "loss/embedding": "Squared MMD between generated and real images, mean over random feature spaces: it falls "
        "to about 0, where the unbiased estimate takes both signs (on digits within 0.001 of it beside a good "
        "student).",
        "embedding/*": "The squared MMD in one feature space. All of them fall; one that does not sees what the "
        "others miss.",
    }

    @frozen(kw_only=True)
    class Config:
        embeddings: tuple[Choice[Embedding], ...] = field(
            default=(Use("convnet"), Use("multiscale"), Use("residual"), Use("attention")), validator=min_len(1)
        )
        """random networks whose features are compared"""
        copies: int = field(default=1, validator=ge(1))  # of each, from different seeds; the paper's 4 x 4: copies = 4
        kernel: Choice[Kernel] = Use("rbf")  # of the squared MMD
        # The biased estimate keeps k(x,x), which has no gradient: it weakens the repulsion between generated images
        # by (B-1)/B, so small batches lose diversity.
        estimator: str = field(default="unbiased", validator=in_(("unbiased", "biased")))
        """of the squared MMD; "biased" weakens the repulsion between generated images by 1 / batch"""
        bandwidth: str = field(default="mean", validator=in_(("mean", "median")))
        """what is taken of the pooled squared distances"""
        bandwidth_ema: float = field(default=0.99, validator=and_(ge(0), lt(1)))  # decay of its average, per step
        real_batch: int = field(default=256, validator=ge(1))  # real images per step
        bank_mb: float = field(default=1024, validator=ge(0), metadata=INFINITE)
        """megabytes for the features of the whole data set, and for its pairs, if they fit; 0: never; inf: always"""
        refresh_every: int | None = field(default=None, validator=optional(ge(1)))
        """iterations between new embeddings; unset: the same in the whole run"""
        mode: str = field(default="marginal", validator=in_(("marginal", "joint", "per_class")))
        """what is compared: images alone, images with their labels, or the images of each class"""
        beta: float = field(default=1.0, validator=gt(0))  # weight of labels in mode = "joint"
        normalize: str = field(default="none", validator=in_(("none", "l2")))
        """what is done to features: nothing, or scaling to length 1"""
        space: str = field(
            default="latents", validator=in_(("latents", "pixels")), metadata=added_later(as_before="latents")
        )
        """of a data set of latents: what is compared; pixels are decoded, and the gradient goes through the decoder"""
        precision: str = field(default="fp32", validator=in_(("fp32", "bf16")), metadata=added_later(as_before="fp32"))
        """what embeddings compute in; distances and means are in float32 in any case"""
        seed: int = 0  # of the embeddings, beside the run's seed

    config: Config

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.biased = config.estimator == "biased"
        self.real: RealFeatures | None = None

    @hookimpl
    def setup(self, state: State) -> None:
        self.kernel = self.config.kernel.build()
        self._check(state)
        self.dtype = torch.promote_types(state.dtype, torch.float32)
        self.space = space_of(state, self.config.space)
        count = len(self.config.embeddings) * self.config.copies
        self.bandwidths = Bandwidths(count, self.config.bandwidth_ema, state.device, self.dtype)
        self._draw(state, self._due(state))

    @hookimpl
    def auxiliary_loss(self, state: State, step: Step) -> Term:
        """(a)."""
        if self.round != self._due(state):
            self._draw(state, self._due(state))
        with torch.enable_grad(), torch.autocast(state.device.type, enabled=False):
            value, gradient = self._value_and_gradient(state, step)
        return Term("embedding", value, grad=gradient)

    def _value_and_gradient(self, state: State, step: Step) -> tuple[Tensor, Tensor]:
        """(a), the mean over embeddings [], and its gradient at x [N,C,H,W]; one embedding at a time."""
        if self.real is None:  # only now: the bank takes a pass over the data
            bank_mb = 0 if self.config.refresh_every else self.config.bank_mb
            kernel = self.kernel if self.config.mode == "marginal" and not self.biased else None
            self.real = RealFeatures(state, self.nets, self.dtype, bank_mb, kernel, self.space)
        index = self._index(state)
        x = step.own.x.detach().to(self.dtype)  # each rank embeds its own rows; what is compared is the whole batch
        x, back = self.space.see(x, state.micro_batch)
        values, gradient = [], torch.zeros_like(x)
        for i, (real, pairs) in enumerate(self.real(index)):
            compare = partial(self._compare, state, step, index, i, real, pairs)
            value, d = pull_back(self.nets[i], x, compare, at_once=state.micro_batch)
            state.record(f"embedding/{self.names[i]}", value)
            values.append(value)
            gradient += d / len(self.nets)
        return torch.stack(values).mean(), back(gradient).to(step.own.x.dtype)

    def _compare(
        self, state: State, step: Step, index: Tensor, i: int, real: Tensor, pairs: Tensor | None, fake: Tensor
    ) -> Tensor:
        """(b) of embedding i between fake [N,D], of this rank's rows, and real [M,D], with its pairs -> []."""
        fake = step.gather(fake)
        pool = Pooled(fake, real, self.kernel)
        s2 = self.bandwidths.update(i, pool.bandwidth2(self.config.bandwidth))
        if self.config.mode == "marginal":
            known = None if pairs is None else mean_at(pairs, self.kernel, s2)
            return pool.mmd2(s2, biased=self.biased, real_real=known)
        mmd = partial(mmd2, kernel=self.kernel, biased=self.biased)
        real_labels = state.dataset.labels(index)
        if self.config.mode == "per_class":
            ours = step.labels_cpu
            assert ours is not None and real_labels is not None, "setup asks for labels"
            return per_class(mmd, fake, real, s2, ours, real_labels, fewest=1 if self.biased else 2)
        assert step.labels is not None and real_labels is not None, "setup asks for labels"
        real_labels = real_labels.to(fake, non_blocking=True)
        return joint(mmd, fake, real, s2, step.labels.to(fake), real_labels, beta=self.config.beta)

    def _index(self, state: State) -> Tensor:
        """Which real images this step sees, int64 [M]: a function of the seed and of images seen."""
        size = len(state.dataset)
        n = min(self.config.real_batch, size)
        return noise.shuffled(state.seed, "embedding/real", state.nimg * n // state.batch, n, size)

    def _due(self, state: State) -> int:
        """How often the embeddings have been drawn anew by this iteration."""
        return state.iteration // self.config.refresh_every if self.config.refresh_every else 0

    def _draw(self, state: State, round: int) -> None:
        """The embeddings of this round; new ones start with bandwidths of their own."""
        config = self.config
        seed = noise.fold(state.seed, config.seed)
        channels, resolution, _ = self.space.shape
        drawn = list(draw(config.embeddings, config.copies, resolution, channels, seed, round))
        self.names = [name for name, _ in drawn]
        self.nets = [net.to(state.device, self.dtype) for _, net in drawn]
        if config.precision == "bf16":
            self.nets = [InBfloat16(net) for net in self.nets]
        if config.normalize == "l2":
            self.nets = [nn.Sequential(net, UnitLength()) for net in self.nets]
        self.round, self.real = round, None
        self.bandwidths.restart(round)

    def _check(self, state: State) -> None:
        """Raises UsageError for what only the whole recipe shows."""
        config, where = self.config, 'auxiliary_loss "embedding"'
        if not self.biased and min(state.batch, config.real_batch, len(state.dataset)) < 2:
            raise UsageError(
                f'{where}: estimator = "unbiased" needs at least 2 images on each side: run.batch is {state.batch},'
                f" real_batch {config.real_batch}, the data set {len(state.dataset)}"
            )
        if config.mode != "marginal" and not state.dataset.label_dim:
            raise UsageError(
                f'{where}: mode = "{config.mode}" needs labels, which this data set has not: use "marginal"'
            )
        if config.mode == "joint" and not self.kernel.radial:
            raise UsageError(f'{where}: mode = "joint" does nothing with kernel "{config.kernel.name}": use "rbf"')

    def state_dict(self) -> dict[str, Any]:
        return self.bandwidths.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """After `setup`; the embeddings of that round are drawn at the next step."""
        self.bandwidths.load_state_dict(state)
