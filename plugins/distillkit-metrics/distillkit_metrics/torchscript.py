"""Feature networks from TorchScript files by path: the published Inception, and any other network.

A TorchScript file is a program: loading it unpickles no Python, but calling it runs whatever its maker wrote, with the
rights of this process. Hence `sha256` in the recipe, checked before anything is loaded, and the hash in every result.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit.api import PROGRAM, Dataset, Features, InputError, UsageError, field, frozen, ge, in_, optional

INCEPTION_WIDTH = 2048


def _is_sha256(instance: Any, attribute: Any, value: str) -> None:
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(f"'sha256' must be 64 digits 0-9a-f: {value[:80]!r}")


@frozen(kw_only=True)
class FileConfig:
    network: str = field(metadata=PROGRAM)  # path of the TorchScript file
    sha256: str | None = field(default=None, validator=optional(_is_sha256))  # of that file; another one is refused


def load(path: Path, expected: str | None) -> tuple[nn.Module, str]:
    """The network in eval mode, and the sha256 of its file. Raises InputError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; `network` is the path of a TorchScript file") from error
    digest = hashlib.sha256(raw).hexdigest()
    if expected not in (None, digest):
        raise InputError(f"{path}: its sha256 is {digest}, the recipe says {expected}: another or a damaged file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # published networks come in this format only
            return torch.jit.load(io.BytesIO(raw), map_location="cpu").eval(), digest
    except RuntimeError as error:
        raise InputError(f"{path}: not a TorchScript file ({reason(error)})") from error


def reason(error: Exception) -> str:
    """The line of torch's message that says what happened: of an error inside a network, the last one."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1 if "TorchScript interpreter" in lines[0] else 0][:200]


class TorchScript(Features):
    """Any feature network as a TorchScript file: SqueezeNet, DINOv2, CLIP ...; its distance is `fd`.

    Called with x [n,3,size,size] float32, 8-bit levels scaled to [0,1], resized, normalised; gives features [n,D].
    """

    layers = ("penultimate",)

    @frozen(kw_only=True)
    class Config(FileConfig):
        size: int = field(default=224, validator=ge(1))  # pixels that images are scaled to
        resize: str = field(default="bicubic", validator=in_(("bicubic", "bilinear")))  # interpolation, antialiased
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
        """mean of the images in its training, RGB; the default is ImageNet's"""
        std: tuple[float, float, float] = (0.229, 0.224, 0.225)
        """standard deviation of the images in its training, RGB; the default is ImageNet's"""

    @property
    def preparation(self) -> list[str]:
        """What is done to images before they reach the network: it decides the numbers as much as the file does."""
        c = self.config
        return [f"size {c.size}", c.resize, f"mean {list(c.mean)}", f"std {list(c.std)}"]

    def prepare(self, dataset: Dataset, held_out: Dataset | None, cache: Path) -> None:
        """Raises InputError for a file that is missing, another one or no such network, UsageError for channels.

        Of images without content channels alone are looked at, and no file is read.
        """
        pixels = dataset.pixels(torch.arange(1))
        if pixels.shape[1] not in (1, 3):
            raise UsageError(f"published features see grey or RGB images; these have {pixels.shape[1]} channels")
        if pixels.is_meta:
            return
        path = Path.cwd() / self.config.network
        self.net, sha256 = load(path, self.config.sha256)
        self.digest = ", ".join([sha256, *self.preparation])
        try:
            tried = self(torch.zeros(2, *pixels.shape[1:]))
        except (RuntimeError, AttributeError, torch.jit.Error) as error:
            raise InputError(f"{path}: cannot be called as wanted ({reason(error)})") from error
        wrong = [list(part.shape) for part in tried.values() if part.ndim != 2 or len(part) != 2]
        if wrong:
            raise InputError(f"{path}: gave {wrong[0]} for 2 images, expected [2, D]")
        self.width = tried["penultimate"].shape[1]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Features [n,D] of x [n,C,H,W] in [-1,1], computed where x is."""
        c, x = self.config, _bytes(x).float() / 255
        x = F.interpolate(x, size=(c.size, c.size), mode=c.resize, align_corners=False, antialias=True)
        mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (c.mean, c.std))
        return {"penultimate": self.net.to(x.device)((x - mean) / std).float()}


class Inception(TorchScript):
    """Inception-v3 as StyleGAN's TorchScript file inception-2015-12-05.pt by path (arXiv:1512.00567).

    Called with x [n,3,H,W] uint8, which it scales itself: `net(x, return_features=True)` gives features [n,2048],
    `net(x, no_output_bias=True)` class probabilities.
    """

    distance = ""  # its file tells

    @frozen(kw_only=True)
    class Config(FileConfig):
        pass

    @property
    def preparation(self) -> list[str]:
        return []  # the file's own

    def prepare(self, dataset: Dataset, held_out: Dataset | None, cache: Path) -> None:
        """As for any such file; the published width makes distances FIDs."""
        super().prepare(dataset, held_out, cache)
        if width := getattr(self, "width", 0):
            self.distance = "fid" if width == INCEPTION_WIDTH else "fd"

    @torch.no_grad()
    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Features [n,D] of x [n,C,H,W] in [-1,1], computed where x is."""
        return {"penultimate": self.net.to(x.device)(_bytes(x), return_features=True).float()}

    @torch.no_grad()
    def probabilities(self, x: Tensor) -> Tensor:
        """Class probabilities [n,classes], float32, of x [n,C,H,W] in [-1,1]."""
        shares: Tensor = self.net.to(x.device)(_bytes(x), no_output_bias=True)
        return shares.float()


def _bytes(x: Tensor) -> Tensor:
    """8-bit levels [n,3,H,W], truncated as EDM's; grey is repeated."""
    return (x.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
