"""A plugin for the tests of recipes: one component of each kind that a recipe needs, none of which can run."""

from __future__ import annotations

from distillkit.api import (
    AuxiliaryLoss,
    Choice,
    Dataset,
    Embedding,
    Evaluate,
    GeneratorLoss,
    Kernel,
    Network,
    Optimizer,
    Sample,
    TeacherScore,
    Use,
    field,
    frozen,
    ge,
    gt,
)


class Points(Dataset):
    """Points."""

    @frozen(kw_only=True)
    class Config:
        path: str
        size: int = field(default=8, validator=ge(1))
        flip: bool = False


class Edm(TeacherScore):
    """A teacher."""

    @frozen(kw_only=True)
    class Config:
        checkpoint: str | None = None


class Mlp(Network):
    """A network."""

    @frozen(kw_only=True)
    class Config:
        width: int = 8


class OneStep(Sample):
    """One step."""

    @frozen(kw_only=True)
    class Config:
        sigma_init: float = 2.5


class FewStep(Sample):
    """Few steps."""

    @frozen(kw_only=True)
    class Config:
        sigmas: tuple[float, ...]


class Sid(GeneratorLoss):
    """A method."""

    recipe_defaults = {
        "sample": {"use": "one-step", "sigma_init": 1.5},
        "generator": {"optimizer": {"betas": (0.0, 0.99)}},
    }

    @frozen(kw_only=True)
    class Config:
        alpha: float = 1.2
        tmin: float = field(default=0.0, validator=ge(0))
        tmax: float = field(default=800.0)
        lr: float = field(default=1e-5, validator=gt(0))
        clip_norm: float | None = 10.0
        critic: Optimizer = Optimizer(lr=1e-3, betas=(0.5, 0.9), clip_norm=1.0)

        @tmax.validator
        def _above(self, attribute: object, value: float) -> None:
            if value <= self.tmin:
                raise ValueError(f"'tmax' must be > tmin = {self.tmin}: {value}")


class EmbeddingLoss(AuxiliaryLoss):
    """A term with parts."""

    @frozen(kw_only=True)
    class Config:
        embeddings: tuple[Choice[Embedding], ...] = (Use("convnet"), Use("residual", depth=2))
        kernel: Choice[Kernel] = Use("rbf")
        second: Choice[Kernel] | None = None


class ConvNet(Embedding):
    """Features."""

    @frozen(kw_only=True)
    class Config:
        depth: int = field(default=3, validator=ge(1))


class Rbf(Kernel):
    """A kernel."""

    @frozen(kw_only=True)
    class Config:
        scales: tuple[float, ...] = (1.0,)


class Fid(Evaluate):
    """A metric."""

    @frozen(kw_only=True)
    class Config:
        images: int = 100
        eps: float | str = "auto"
        limits: dict[str, float] = field(factory=dict)
        notes: list[str] = field(factory=list)
