"""A student of distillkit as a pipeline of diffusers; needs torch, diffusers and, for words, transformers."""

from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot


class StudentPipeline(DiffusionPipeline):
    """Images in one pass: `pipe(batch_size=4, class_labels=[0, 1, 2, 3]).images`, or `pipe(prompt=["..."]).images`."""

    _optional_components = ["text_encoder", "tokenizer"]

    def __init__(self, student: nn.Module, text_encoder: Any, tokenizer: Any) -> None:
        super().__init__()
        self.register_modules(student=student, text_encoder=text_encoder, tokenizer=tokenizer)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int | None = None,
        class_labels: int | list[int] | None = None,
        generator: Generator | list[Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        *,
        prompt: str | list[str] | None = None,
        guidance_scale: float | None = None,
    ) -> ImagePipelineOutput | tuple[Any]:
        """`class_labels`: one for all or one each, None: classes take turns. `latents`: unit normal z [N,C,H,W].

        `prompt`: words, one for all or one each, of a student that takes words; `guidance_scale` likewise.
        `output_type`: "pil", "np" [N,H,W,C] or "pt" [N,C,H,W], both in [0,1]. distillkit's image i is that of
        torch.Generator().manual_seed(i), as `generator` or in a list of them.
        """
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f'output_type is "pil", "np" or "pt", not {output_type!r}')
        config, device = self.student.config, self.student.device
        if latents is None:
            n = batch_size or (len(prompt) if isinstance(prompt, list) else 1)
            shape = (n, config["channels"], config["resolution"], config["resolution"])
            latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        n, layout = len(latents), config["layout"]
        parts = [*self._classes(n, layout["classes"], class_labels), *self._words(n, layout, prompt)]
        parts += self._scale(n, config["guidance"], guidance_scale)
        x = self.student(latents.to(device), *([torch.cat(parts, 1).to(device)] if parts else []))
        images = (x / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.permute(0, 2, 3, 1).cpu().numpy()
        if output_type == "pil":
            images = self.numpy_to_pil(images)
        return ImagePipelineOutput(images) if return_dict else (images,)

    def _classes(self, n: int, dim: int, asked: int | list[int] | None) -> list[Tensor]:
        """One-hot labels [n,dim], or nothing where the student has no classes."""
        if not dim:
            if asked is not None:
                raise ValueError("this student has no classes")
            return []
        classes = [i % dim for i in range(n)] if asked is None else [asked] * n if isinstance(asked, int) else asked
        if len(classes) != n or not all(0 <= c < dim for c in classes):
            raise ValueError(f"class_labels: {n} numbers from 0 to {dim - 1}, got {classes}")
        return [one_hot(torch.tensor(classes), dim).float()]

    def _words(self, n: int, layout: dict[str, int], asked: str | list[str] | None) -> list[Tensor]:
        """Embedded tokens [n,T*W], their mask [n,T] and a pooled vector [n,P], as far as the student takes them."""
        if not layout["tokens"]:
            if asked is not None:
                raise ValueError("this student takes no words")
            return []
        words = [asked] * n if isinstance(asked, str) else asked
        if not words or len(words) != n:
            raise ValueError(f"prompt: words for {n} images, one text for all or a list of {n}, got {asked}")
        ids = self.tokenizer(
            words, padding="max_length", truncation=True, max_length=layout["tokens"], return_tensors="pt"
        ).to(self.text_encoder.device)
        found = self.text_encoder(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"])
        mask = ids["attention_mask"].float()
        parts = [(found.last_hidden_state.float() * mask[:, :, None]).flatten(1), mask]
        if layout["pooled"]:
            own = getattr(found, "text_embeds", None)
            parts.append((found.pooler_output if own is None else own).float())
        return [part.to(self.student.device) for part in parts]

    def _scale(self, n: int, scales: dict[str, float] | None, asked: float | None) -> list[Tensor]:
        """The scale of the guidance [n,1], or nothing where the student takes none."""
        if not scales:
            if asked is not None:
                raise ValueError("this student takes no guidance_scale: its teacher's was fixed in training")
            return []
        scale = scales["usual"] if asked is None else asked
        if not scales["low"] <= scale <= scales["high"]:
            raise ValueError(f"guidance_scale: from {scales['low']:g} to {scales['high']:g}, got {scale:g}")
        return [torch.full((n, 1), float(scale), device=self.student.device)]
