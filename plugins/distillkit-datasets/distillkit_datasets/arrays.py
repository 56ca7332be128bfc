"""Images that lie in memory as one array."""

from __future__ import annotations

import numpy as np

from distillkit_datasets.labels import Labels


class Arrays:
    """Images uint8 [N,H,W,C] and their labels."""

    def __init__(self, where: str, images: np.ndarray, labels: Labels | None) -> None:
        self.where, self.images, self.labels = where, images, labels
        self.names = [f"image {i}" for i in range(len(images))]
        self.faults: list[str] = []
        self.turned: set[str] = set()

    def pixels(self, i: int) -> np.ndarray:
        """Image i, uint8 [H,W,C]."""
        image: np.ndarray = self.images[i]
        return image
