"""U-Nets and transformers of diffusers' pipelines as teachers, run by diffusers itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distillkit.api import (
    FILE,
    Dataset,
    Denoiser,
    State,
    TeacherScore,
    UsageError,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
)
from distillkit_diffusers import pipelines
from distillkit_diffusers.callers import CALLERS, Hints
from distillkit_diffusers.hosted import hosted

if TYPE_CHECKING:
    from torch import Tensor


class DiffusersTeacher(TeacherScore):
    """Model of a diffusers folder: DDPM, DiT, PixArt, Stable Diffusion, SDXL, SD3, Flux."""

    @frozen(kw_only=True)
    class Config:
        folder: str = field(metadata=FILE)  # what save_pretrained wrote, of a pipeline or of a model and its scheduler
        component: str = field(default="", validator=in_(("", *pipelines.PARTS)))
        """of the pipeline; "": the one of these that it has"""
        interpolated: bool = False  # steps between whole ones, which training has not seen but which move smoothly
        mask: bool = False  # whether a U-Net with words sees their mask, which its pipelines do not show it
        guidance_scale: float = field(default=3.5, validator=ge(0))
        """what a model is told that has the scale as an input, as Flux does"""
        sigma_data: float = field(default=0.5, validator=gt(0))  # standard deviation of the images

    config: Config
    network: Denoiser

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError without diffusers or for a data set of another kind, InputError for a wrong folder."""
        c = self.config
        pipeline = pipelines.read(Path.cwd() / c.folder, c.component, frozenset(CALLERS), c.interpolated)
        check_latents(pipeline, state.dataset)
        network = hosted(
            pipeline, Hints(mask=c.mask, guidance=c.guidance_scale), state.dataset.resolution, state.dataset.layout,
            c.sigma_data, empty=state.device.type == "meta",
        )  # fmt: skip
        self.network = network.to(state.device, state.dtype).eval().requires_grad_(False)

    @hookimpl
    def teacher_score(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """D of the model."""
        return self.network(x, sigma, labels)


def check_latents(pipeline: pipelines.Pipeline, dataset: Dataset) -> None:
    """Raises UsageError unless the data set's images are the pipeline's: its latents, on their scale, or pixels."""
    scale = pipeline.latent_scale
    if scale is None:
        return
    if not dataset.latent:
        raise UsageError("teacher_score: the pipeline's images are latents of its VAE; the data set has pixels")
    if getattr(dataset.config, "vae", None) and not getattr(dataset.config, "signed_pixels", True):
        raise UsageError(
            "teacher_score: the pipeline's latents are of pixels in [-1,1]; data pack --vae FILE --signed-pixels makes "
            "such, and [dataset] then has signed_pixels = true"
        )
    mean, std = (getattr(dataset.config, key, None) for key in ("raw_mean", "raw_std"))
    if mean is None or std is None:
        return  # a data set that does not say how it scales them
    factor, shift = scale
    want = 0.5 / factor  # latents are scaled to a standard deviation of 0.5
    if any(abs(m - shift) > 1e-3 for m in mean) or any(abs(s / want - 1) > 1e-3 for s in std):
        raise UsageError(
            f"teacher_score: the pipeline's latents are (z - {shift:g}) {factor:g}; in [dataset] that is "
            f"raw_mean = {[shift] * len(mean)}, raw_std = {[round(want, 6)] * len(std)}"
        )
