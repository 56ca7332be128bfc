"""A student of distillkit as a pipeline of diffusers; needs torch and diffusers alone."""

from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot


class StudentPipeline(DiffusionPipeline):
    """Images in one pass: `pipe(batch_size=4, class_labels=[0, 1, 2, 3]).images`."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.register_modules(student=student)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        class_labels: int | list[int] | None = None,
        generator: Generator | list[Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any]:
        """`class_labels`: one for all or one each, None: classes take turns. `latents`: unit normal z [N,C,H,W].

        `output_type`: "pil", "np" [N,H,W,C] or "pt" [N,C,H,W], both in [0,1]. distillkit's image i is that of
        torch.Generator().manual_seed(i), as `generator` or in a list of them.
        """
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f'output_type is "pil", "np" or "pt", not {output_type!r}')
        config, device = self.student.config, self.student.device
        if latents is None:
            shape = (batch_size, config["channels"], config["resolution"], config["resolution"])
            latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        labels = self._labels(len(latents), class_labels)
        x = self.student(latents.to(device), *labels)
        images = (x / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.permute(0, 2, 3, 1).cpu().numpy()
        if output_type == "pil":
            images = self.numpy_to_pil(images)
        return ImagePipelineOutput(images) if return_dict else (images,)

    def _labels(self, n: int, asked: int | list[int] | None) -> list[Tensor]:
        """One-hot labels [n,L], or nothing where the student has no classes."""
        dim = self.student.config["label_dim"]
        if not dim:
            if asked is not None:
                raise ValueError("this student has no classes")
            return []
        classes = [i % dim for i in range(n)] if asked is None else [asked] * n if isinstance(asked, int) else asked
        if len(classes) != n or not all(0 <= c < dim for c in classes):
            raise ValueError(f"class_labels: {n} numbers from 0 to {dim - 1}, got {classes}")
        return [one_hot(torch.tensor(classes), dim).float().to(self.student.device)]
