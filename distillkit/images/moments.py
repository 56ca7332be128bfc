"""Mean and covariance of the features of a whole data set, as the references of FID hold them."""

from __future__ import annotations

import numpy as np
import torch

from distillkit.api import Dataset, Features, InputError


@torch.no_grad()
def moments(features: Features, dataset: Dataset, batch: int, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """mu [D] = sum f / N and sigma [D,D] = (F^T F - N mu mu^T) / (N - 1), float64, of "penultimate" features F [N,D].

    Raises InputError for fewer than two images or features that are not finite. Source: EDM's fid.py.
    """
    n = len(dataset)
    first = second = torch.zeros((), dtype=torch.float64)
    if n < 2:
        raise InputError(f"a covariance needs two images or more, the data set has {n}")
    for index in torch.arange(n).split(batch):
        f = features(dataset.pixels(index).to(device))["penultimate"].double()
        if not f.isfinite().all():
            raise InputError(f"images {int(index[0])} to {int(index[-1])} have features that are not finite")
        first, second = first + f.sum(0), second + f.T @ f
    mu = first / n
    return mu.cpu().numpy(), ((second - n * mu.outer(mu)) / (n - 1)).cpu().numpy()
