"""Moments of real images: from a published npz, or measured in one pass and cached by content."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distillkit.api import Dataset, Features, InputError
from distillkit_metrics import store
from distillkit_metrics.order import shuffled
from distillkit_metrics.pixels import Content, quantised
from distillkit_metrics.statistics import Moments, Sums

VERSION = 2  # raise it when the sums below change
QUARTERS = 4


def read(path: Path, width: int) -> tuple[Moments, str]:
    """`mu` [width] and `sigma` [width,width] of an npz, and the file's sha256. Raises InputError."""
    try:
        raw = path.read_bytes()
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            mu, sigma = (torch.from_numpy(np.asarray(file[key], dtype=np.float64)) for key in ("mu", "sigma"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; `reference` is an npz with mu and sigma") from error
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not an npz with mu and sigma ({type(error).__name__}: {error})") from error
    if mu.shape != (width,) or sigma.shape != (width, width):
        raise InputError(
            f"{path}: mu {list(mu.shape)}, sigma {list(sigma.shape)}; these features have [{width}], [{width}, {width}]"
        )
    if not (mu.isfinite().all() and sigma.isfinite().all() and torch.allclose(sigma, sigma.T)):
        raise InputError(f"{path}: mu and sigma must be finite and sigma symmetric")
    return Moments(mu, sigma), hashlib.sha256(raw).hexdigest()


def quarters(
    features: Features, dataset: Dataset, batch: int, device: torch.device, cache: Path
) -> tuple[list[Sums], str]:
    """Sums over four disjoint random parts of a data set, and the sha256 of its images."""
    content = digest(dataset, batch)
    about = {"version": VERSION, "features": features.digest, "images": content}
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()
    path = cache / f"moments-{key[:16]}.safetensors"
    found = store.load(path) if features.digest else None
    if found is None:
        sums = [Sums() for _ in range(QUARTERS)]
        part_of = shuffled(0, "evaluate/quarters", 0, len(dataset), len(dataset)) % QUARTERS
        for x, parts in zip(_parts(dataset, batch), part_of.split(batch), strict=True):
            f = features(x.to(device))["penultimate"]
            for i, part in enumerate(sums):
                part.add(f[(parts == i).to(f.device)])
        found = {f"{i}.{k}": torch.as_tensor(v).cpu() for i, s in enumerate(sums) for k, v in vars(s).items()}
        if features.digest:
            store.save(path, {k: v.contiguous() for k, v in found.items()}, about)
    read = range(QUARTERS)
    return [Sums(int(found[f"{i}.count"]), found[f"{i}.first"], found[f"{i}.second"]) for i in read], content


def digest(dataset: Dataset, batch: int) -> str:
    """sha256 of the images as bytes, with their number and shape."""
    content = Content(dataset)
    for index in torch.arange(len(dataset)).split(batch):
        content.add(dataset.pixels(index))
    return content.hexdigest()


def _parts(dataset: Dataset, batch: int) -> Iterator[Tensor]:
    return (quantised(dataset.pixels(index)) for index in torch.arange(len(dataset)).split(batch))
