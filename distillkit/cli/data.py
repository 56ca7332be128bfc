"""`distillkit data`: pack images into a data set, look at one that is there, measure it for FID."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillkit.api import Dataset, InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

NAMES = {".zip": "image-zip", ".npz": "npz", ".tar.gz": "cifar10", ".tgz": "cifar10"}  # of kind dataset, by suffix
IN_FILES = ("image-zip", "image-folder", "latents")  # every image was decoded once already: no need to keep them
CHUNK = 256  # images
SHOWN = 20  # classes


def main(arguments: Namespace) -> int:
    """Pack, check or measure -> exit code."""
    return {"pack": _pack, "check": _check, "stats": _stats}[arguments.action](arguments)


def dataset_name(path: Path) -> str:
    """Which dataset reads what is at `path`. Raises InputError, UsageError."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        return "image-folder"
    for suffix, name in NAMES.items():
        if path.name.lower().endswith(suffix):
            return name
    raise UsageError(f"{path}: no folder, and its name ends with none of {', '.join(NAMES)}")


def _part(kind: str, **table: object) -> Any:
    """A component by the keys of its table in a recipe. Raises UsageError."""
    from distillkit.recipe import choice_from_table
    from distillkit.registry import Catalog

    try:
        return choice_from_table(kind, table, Catalog.installed(), "distillkit data").build()
    except InputError as error:
        raise UsageError(str(error)) from error


def _dataset(path: Path, **keys: object) -> Dataset:
    return _part("dataset", use=dataset_name(path), path=str(path), **keys)


def _pack(arguments: Namespace) -> int:
    from distillkit.images.pack import pack

    turned = {} if arguments.orientation is None else {"orientation": arguments.orientation}
    dataset = _dataset(arguments.source, labels=arguments.labels == "auto", **turned)
    encode = arguments.vae and _encoder(arguments.vae)
    pictures = dataset.pictures(Path.cwd())
    packed = pack(
        pictures, arguments.out, arguments.resolution, arguments.transform, encode or None,
        class_names=dataset.class_names, skip_damaged=arguments.skip_damaged,
    )  # fmt: skip
    if packed.left_out:
        print(f"{packed.left_out} images are too small and were left out")
    for fault in packed.damaged:
        print(f"left out: {fault}")
    height, width, channels = packed.shape
    labels = "with labels" if packed.labels else "without labels"
    of = "latents of images" if encode else "images"
    print(f"{arguments.out}: {packed.images} {of}, {width}x{height}x{channels}, {labels}")
    return 0


def _encoder(vae: str) -> Any:
    """What makes latents of an image, by an autoencoder: a path, or the name of an asset. Raises InputError."""
    from distillkit.assets.folder import folder
    from distillkit.assets.locate import located

    latents = _part("dataset", use="latents", path="images", vae=located(vae, folder()))
    latents.require()
    return latents.encode


def _check(arguments: Namespace) -> int:
    """Read every image and label of a data set; all that cannot be used is told at once."""
    import torch

    use = "latents" if arguments.latents else dataset_name(arguments.path)
    keys = {"memory": "file"} if use in IN_FILES else {}
    dataset = _part("dataset", use=use, path=str(arguments.path), **keys)
    faults = list(dataset.faults(Path.cwd()))
    if faults:
        raise InputError.listing(faults)
    dataset.open(Path.cwd())
    size = f"{dataset.resolution}x{dataset.resolution}x{dataset.channels}"
    for name, part in (("images", dataset), ("held-out images", dataset.held_out())):
        if part is None:
            continue
        counts: Counter[int] = Counter()
        for index in torch.arange(len(part)).split(CHUNK):
            counts.update(_classes(part.labels(index)))
        print(f"{arguments.path}: {len(part)} {name}, {size}, {_labels(part, counts)}")
    return 0


def _stats(arguments: Namespace) -> int:
    """Write mean and covariance of a network's features, which `fid` takes as its `reference`."""
    import numpy as np

    from distillkit.assets.folder import home
    from distillkit.device import pick_device
    from distillkit.disk.files import write_new
    from distillkit.images.moments import moments

    if arguments.out.exists() or not arguments.out.parent.is_dir():
        raise UsageError(f"{arguments.out} exists already, or its folder does not; choose another name")
    network = {"network": str(arguments.network)} if arguments.network else {}
    dataset, features = _dataset(arguments.path), _part("features", use=arguments.features, **network)
    dataset.open(Path.cwd())
    features.prepare(dataset, dataset.held_out(), home())
    mu, sigma = moments(features, dataset, CHUNK, pick_device("auto"))
    file = BytesIO()
    np.savez(file, mu=mu, sigma=sigma)
    write_new(arguments.out, file.getvalue())
    print(f"{arguments.out}: mu and sigma of {len(mu)} features of {len(dataset)} images")
    return 0


def _classes(labels: Tensor | None) -> list[int]:
    """Class of each image where labels are one-hot."""
    if labels is None or not bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()):
        return []
    return labels.argmax(1).tolist()


def _labels(dataset: Dataset, counts: Counter[int]) -> str:
    if not dataset.label_dim:
        return "no labels"
    if counts.total() != len(dataset):
        return f"labels of {dataset.label_dim} numbers"
    names = dataset.class_names or range(dataset.label_dim)
    shown = [f"{name} {counts[i]}" for i, name in enumerate(names)][:SHOWN]
    more = f", and {dataset.label_dim - SHOWN} more" if dataset.label_dim > SHOWN else ""
    return f"{dataset.label_dim} classes: {', '.join(shown)}{more}"
