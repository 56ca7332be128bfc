"""Train the classifier whose features measure the digits, as distillkit-metrics ships it.

Usage: python benchmarks/digits_classifier.py [FOLDER]        FOLDER: left out, the plugin's own

Run it when the classifier's settings change, and raise VERSION in classifier.py. Another processor or torch comes to
other weights of the same quality, and so to other Frechet distances: that is why the weights are shipped.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from distillkit_datasets.digits import Digits
from distillkit_metrics import classifier
from distillkit_metrics.classifier import DigitsClassifier
from torch import Tensor


def accuracy(features: DigitsClassifier, x: Tensor, classes: Tensor) -> float:
    """Share of images x [n,1,8,8] that are taken for their class."""
    return float((features(x)["logits"].argmax(1) == classes).double().mean())


def main(folder: Path) -> None:
    """Train without looking at what is shipped, write weights and record, and say how good they are."""
    dataset = Digits(Digits.Config())
    dataset.open(Path())
    held_out = dataset.held_out()
    features = DigitsClassifier(DigitsClassifier.Config())
    with TemporaryDirectory() as empty:
        classifier.SHIPPED = Path(empty)
        features.prepare(dataset, held_out, Path(empty))
        shutil.copytree(empty, folder, dirs_exist_ok=True)
    index = torch.arange(len(held_out))
    right = accuracy(features, held_out.images(index), held_out.classes(index))
    print(f"{folder}: {100 * right:.1f} % of {len(held_out)} held-out digits right, sha256 {features.digest}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(classifier.__file__).with_name("shipped"))
