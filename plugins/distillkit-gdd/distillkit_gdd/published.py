"""Networks with published weights: images as the network was trained on them, and files read without pickle's code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit.api import FILE, Backbone, InputError, State, UsageError, field, frozen, ge

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of images in [0,1], RGB
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
CAFFE = (123 / 255, 117 / 255, 104 / 255), (1 / 255, 1 / 255, 1 / 255)  # 0 ... 255 minus the mean, BGR


@frozen(kw_only=True)
class PublishedConfig:
    weights: str = field(metadata=FILE)  # path of the published weights, .safetensors or .pth
    size: int = field(default=224, validator=ge(32))  # pixels that images are scaled to


class Published(Backbone):
    """Base: builds `layers()`, loads `weights` into it, and normalises images before it."""

    config: PublishedConfig

    @property
    def normalisation(self) -> Normalisation:
        """Mean and deviation, a channel each, of the images that the network was trained on."""
        return IMAGENET

    def layers(self) -> nn.Module:
        """The network with the published names: `net(x [N,3,size,size]) -> maps`, finest first."""
        raise NotImplementedError

    def module(self, state: State) -> Normalised:
        """Raises InputError if the weights are missing, damaged or another network's; UsageError for other channels."""
        with torch.device("meta"):
            net = self.layers()
        path = state.root / self.config.weights
        return normalised(net, path, state.dataset.channels, self.config.size, self.normalisation)


class Normalised(nn.Module):
    """x [N,1 or 3,H,W] in [-1,1] -> maps of the network."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, net: nn.Module, size: int, mean: tuple[float, ...], std: tuple[float, ...], bgr: bool = False
    ) -> None:
        super().__init__()
        self.net, self.size, self.bgr = net, size, bgr
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(
        self, x: Tensor, labels: Tensor | None = None, randn_like: Callable[[Tensor], Tensor] | None = None
    ) -> list[Tensor]:
        x = (((x + 1) / 2).expand(-1, 3, -1, -1) - self.mean) / self.std
        x = x.flip(1) if self.bgr else x
        x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        maps: list[Tensor] = self.net(x)
        return maps


def normalised(net: nn.Module, path: Path, channels: int, size: int, normalisation: Normalisation) -> Normalised:
    """`net` with the weights of a file, for images of so many channels. Raises InputError, UsageError."""
    if channels not in (1, 3):
        raise UsageError(f"published networks see grey or RGB images; these have {channels} channels")
    load(net, path)
    return Normalised(net, size, *normalisation, bgr=normalisation is CAFFE)


def load(net: nn.Module, path: Path) -> None:
    """Put a file's tensors into `net`; what belongs to a classifier's last layers is left out. Raises InputError."""
    if torch.get_default_device().type == "meta":  # shapes alone are asked for, as by `distillkit plan`
        return
    tensors = read(path)
    wanted = net.state_dict()
    missing = [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]
    if missing:
        raise InputError(f"{path}: has no {missing[0]!r} ({len(missing)} of {len(wanted)} missing): another network's")
    ready = {name: tensors.get(name, torch.zeros((), dtype=torch.int64)) for name in wanted}
    ready = {name: (t.float() if t.is_floating_point() else t).contiguous() for name, t in ready.items()}
    wrong = [name for name, tensor in ready.items() if tensor.shape != wanted[name].shape]
    if wrong:
        shapes = f"{list(ready[wrong[0]].shape)}, expected {list(wanted[wrong[0]].shape)}"
        raise InputError(f"{path}: {wrong[0]!r} has shape {shapes}")
    net.load_state_dict(ready, assign=True)


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a .safetensors or .pth file. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; `weights` is the path of the published weights")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not readable as weights ({str(error).splitlines()[0]})") from error
    tensors = tensors.get("model", tensors) if isinstance(tensors, dict) else {}
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InputError(f"{path}: holds no table of tensors")
    return tensors
