"""A model of diffusers itself, as the denoiser D(x; sigma)."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from distillkit.api import Condition, InputError, Layout, UsageError
from distillkit.convert import Converted
from distillkit_diffusers.callers import CALLERS, Caller, Hints
from distillkit_diffusers.pipelines import Pipeline
from distillkit_diffusers.schedules import PREDICTIONS

MISSING = 'teacher_score "diffusers" needs diffusers: pip install "distillkit-diffusers[diffusers]"'


class HostedDenoiser(Converted):
    """A model of diffusers that predicts on its scheduler's schedule; labels are rows of `layout`.

    Further output channels than the image's, such as variances, are left out.
    """

    def __init__(
        self, model: nn.Module, caller: Caller, resolution: int, layout: Layout, pipeline: Pipeline, sigma_data: float
    ) -> None:
        """Raises UsageError for labels of another kind than the model takes."""
        noise = pipeline.noise
        super().__init__(
            caller.resolution(resolution), caller.channels, layout.size, noise.schedule(),
            PREDICTIONS[noise.prediction_type], sigma_data,
        )  # fmt: skip
        caller.prepare(model, layout)
        self.model, self.caller, self.layout = model, caller, layout
        self.time_scale = noise.time_scale if caller.scale_of_time else 1.0

    def predict(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """What the model says of the image's channels, [N,C,H,W]."""
        if labels is None and self.layout.size:
            labels = x_t.new_zeros(len(x_t), self.layout.size)
        condition = Condition() if labels is None else self.layout.unpack(labels.to(x_t.dtype))
        return self.caller(self.model, x_t, (self.time_scale * t).to(x_t.dtype), condition)[:, : self.channels]


def hosted(
    pipeline: Pipeline, hints: Hints, resolution: int, layout: Layout, sigma_data: float, *, empty: bool = False
) -> HostedDenoiser:  # fmt: skip
    """The folder's model as a denoiser; `empty`: on the meta device, without its weights.

    Raises UsageError without diffusers, InputError where weights do not fit their config.
    """
    if importlib.util.find_spec("diffusers") is None:
        raise UsageError(MISSING)
    cls = getattr(importlib.import_module("diffusers"), pipeline.cls)
    model = _checked(cls, pipeline)
    if not empty:
        model = _loaded(cls, pipeline.model)
    caller = CALLERS[pipeline.cls](model.config, attrs.evolve(hints, pixels=pipeline.pixels))
    return HostedDenoiser(model, caller, resolution, layout, pipeline, sigma_data)


def _checked(cls: Any, pipeline: Pipeline) -> Any:
    """The model without content, no larger than the files of its weights."""
    try:
        with torch.device("meta"):
            model = cls.from_config(pipeline.config)
    except (ValueError, TypeError, KeyError, RuntimeError, ArithmeticError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{pipeline.model}: no {pipeline.cls} can be made of its config: {reason}") from error
    size = sum(file.stat().st_size for file in pipeline.model.glob("*.safetensors"))
    if not size:
        raise InputError(f"{pipeline.model}: no .safetensors in it; save_pretrained(FOLDER) of diffusers writes it")
    if sum(p.numel() for p in model.parameters()) > size:  # of a byte each, at least
        raise InputError(f"{pipeline.model}: its config describes a larger model than its weights are of")
    return model


def _loaded(cls: Any, folder: Path) -> Any:
    try:
        model, told = cls.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{folder}: diffusers cannot load it ({type(error).__name__}: {reason})") from error
    for what in ("missing", "unexpected", "mismatched"):
        if names := list(told[f"{what}_keys"]):
            raise InputError(f"{folder}: {len(names)} weights are {what}, such as {str(names[0])[:80]}")
    for name, p in model.named_parameters():
        if not p.isfinite().all():
            raise InputError(f"{folder}: {name} holds numbers that are not finite")
    return model
