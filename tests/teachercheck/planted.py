"""Exact teachers without training, in any parametrisation, with a mistake where one is asked for.

The posterior mean over the data set's own images is E[y | x] of them: no teacher of these images is better.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from distillkit.api import State, TeacherScore, field, frozen, hookimpl, in_
from distillkit.convert import Converted, Edm, Flow, Gvp, Schedule, Table, TrigFlow, Vp, from_x0, linear
from distillkit.registry import Offer
from distillkit.teachercheck.examine import examine
from distillkit.teachercheck.report import Report
from distillkit.testing import toys

SCHEDULES: dict[str, type[Schedule]] = {"flow": Flow, "vp": Vp, "gvp": Gvp, "trigflow": TrigFlow, "edm": Edm}


class Kernel(Converted):
    """The posterior mean over y [M,C,H,W] of classes [M,L], which predicts `real` and is read as `prediction`."""

    def __init__(self, config: Planted.Config, y: Tensor, classes: Tensor | None) -> None:
        schedule = Table(alphas_cumprod=linear()) if config.schedule == "table" else SCHEDULES[config.schedule]()
        L = 0 if classes is None else classes.shape[1]
        super().__init__(y.shape[2], y.shape[1], L, schedule, config.prediction)
        self.config, self.y, self.classes = config, config.scale * y + config.offset, classes
        self.drop, self.weight = torch.nn.Dropout(0.2), torch.nn.Parameter(torch.zeros(1))
        self.train(config.training)

    def predict(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        c = self.config
        if c.reversed:
            last = len(self.schedule.alphas_cumprod) - 1 if isinstance(self.schedule, Table) else 1
            t = last - t
        t = t.reshape(-1, 1, 1, 1)
        if labels is not None and c.shift:
            labels = labels.roll(-c.shift, 1)
        if labels is not None and c.swapped:
            labels = labels.flip(1)
        D = self.posterior(x_t, t, labels)
        if c.baked != 1 and labels is not None:
            D = torch.lerp(self.posterior(x_t, t, None), D, c.baked)
        if c.training:
            D = self.drop(D)
        if c.normalised:
            D = D - D.mean((0, 2, 3), keepdim=True) + self.y.mean()
        return from_x0(c.real or c.prediction, D, x_t, t, self.schedule)

    def posterior(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        a, b = (scale.double() for scale in self.schedule.a_b(t.double()))
        x, sigma = x_t.double() / a, (b / a).flatten(1)
        far = torch.cdist(x.flatten(1), self.y.double().flatten(1)).square()
        logits = -far / (2 * sigma**2)
        if labels is not None and self.classes is not None:
            given = labels.any(1, keepdim=True)
            logits = logits.masked_fill(given & (labels.double() @ self.classes.double().T < 0.5), -1e30)
        return (logits.softmax(1) @ self.y.double().flatten(1)).reshape(x.shape).to(x_t.dtype)


class ByHand(torch.nn.Module):
    """A network that tells neither its schedule nor what it predicts: its author converts in `forward`."""

    def __init__(self, inner: Kernel) -> None:
        super().__init__()
        self.inner = inner
        for name in ("resolution", "channels", "label_dim", "augment_dim", "sigma_min", "sigma_max", "sigma_data"):
            setattr(self, name, getattr(inner, name))
        self.compute_dtype = None

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        D: Tensor = self.inner(x, sigma, labels)
        return D


class Planted(TeacherScore):
    """An exact teacher of its data set's images, or one with a mistake."""

    @frozen(kw_only=True)
    class Config:
        schedule: str = field(default="flow", validator=in_((*SCHEDULES, "table")))
        prediction: str = "flow"  # what its prediction is read as
        real: str = ""  # what it is; "": the same
        scale: float = 1.0  # of the images that it knows, in the data set's
        offset: float = 0.0
        reversed: bool = False  # its time
        shift: int = 0  # of its classes
        swapped: bool = False  # the order of its classes
        baked: float = 1.0  # that is in it
        training: bool = False  # with dropout left on
        normalised: bool = False  # by the batch
        hidden: bool = False  # tells neither schedule nor prediction

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        index = torch.arange(len(state.dataset))
        network: Any = Kernel(self.config, state.dataset.images(index), state.dataset.labels(index))
        self.network: Any = ByHand(network) if self.config.hidden else network

    @hookimpl
    def teacher_score(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        D: Tensor = self.network(x, sigma, labels)
        return D


def judged(dataset: dict[str, Any] | None = None, **keys: Any) -> Report:
    """The verdict on a planted teacher of toy images."""
    offer = Offer("teacher_score", "planted", f"{__name__}:Planted", "distillkit-test", "1.0")
    catalog = attrs.evolve(toys.catalog(), offers=(*toys.catalog().offers, offer))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toys, "catalog", lambda: catalog)
        recipe = toys.toy_recipe(teacher_score={"use": "planted", **keys}, dataset=dataset or {})
    return examine(recipe, catalog)
