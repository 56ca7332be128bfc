"""Classes as strata: labels in their proportions, rare classes, and splits."""

from __future__ import annotations

import pytest
import torch
from distillkit_metrics.strata import chosen, fewest, split, strata


def of(*counts: int) -> torch.Tensor:
    return torch.tensor(counts)


def test_every_class_with_two_images_in_the_sample_is_a_stratum() -> None:
    found = strata(of(50, 30, 20), fewest(of(50, 30, 20), 20))
    assert found.of_class.tolist() == [0, 1, 2] and found.weights.tolist() == [0.5, 0.3, 0.2]


def test_rare_classes_share_a_stratum_and_an_empty_one_is_in_none() -> None:
    counts = of(500, 3, 450, 0, 40, 7)
    found = strata(counts, fewest(counts, 100))  # 50, 0, 45, 0, 4, 0: the rare ones have no two images together
    assert found.of_class.tolist() == [0, 2, 1, 2, 2, 2]
    assert found.weights.tolist() == pytest.approx([0.5, 0.45, 0.05])
    counts = of(50, 15, 15, 20)
    assert strata(counts, fewest(counts, 10)).of_class.tolist() == [0, 2, 2, 1]


def test_with_one_image_of_each_class_draws_are_independent() -> None:
    counts = torch.full((100,), 5)
    found = strata(counts, fewest(counts, 100))
    assert found.of_class.tolist() == [0] * 100 and found.weights.tolist() == [1.0]
    classes = torch.arange(100).repeat_interleave(5)
    asked = [classes[chosen(found.of_class[classes], found.of_class, 100, seed)] for seed in range(3)]
    assert not torch.equal(asked[0], asked[1]), "each block has draws of its own"
    assert all(40 < len(c.unique()) < 80 for c in asked), "100 independent draws meet about 63 of 100 classes"


def test_labels_come_in_the_proportions_of_the_strata_in_any_order_of_images() -> None:
    classes = torch.randint(4, (997,), generator=torch.Generator().manual_seed(0))
    picked = classes[chosen(classes, torch.arange(4), 100, 0)]
    assert (torch.bincount(picked) - torch.bincount(classes) * 100 / 997).abs().max() < 1


def test_splits_are_disjoint_random_and_in_proportion() -> None:
    groups = torch.arange(3).repeat_interleave(of(500, 300, 200))
    generator = torch.Generator().manual_seed(0)
    (a, b), (c, _) = split(groups, 333, 667, generator), split(groups, 333, 667, generator)
    assert len(set(a.tolist()) | set(b.tolist())) == 1000 and set(a.tolist()) != set(c.tolist())
    assert (torch.bincount(groups[a]) - of(500, 300, 200) * 0.333).abs().max() < 1
    with pytest.raises(ValueError, match=r"700 \+ 400 images of 1000"):
        split(groups, 700, 400, generator)
