"""Distances between two batches of images, one number per image."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

DISTANCES = ("l2", "l1", "huber", "lpips")


def distance(name: str, a: Tensor, b: Tensor, c: float = 0.0, phi: nn.Module | None = None) -> Tensor:
    """d(a, b) [N] of images [N,C,H,W]: means over pixels, or

    "huber": sqrt(|a - b|^2 + c^2) - c, arXiv:2310.14189, Sec. 3.3;
    "lpips": |phi(a) - phi(b)|^2 of the features phi, see `in_features`.
    """
    if name == "lpips":
        assert phi is not None, "a config of `wants_features` asks for them"
        return in_features(phi, a, b)
    gap = (a - b).flatten(1)
    if name == "huber":
        return (gap.square().sum(1) + c**2).sqrt() - c
    return gap.square().mean(1) if name == "l2" else gap.abs().mean(1)


def in_features(phi: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    """|phi(a) - phi(b)|^2 [N] of features phi, images -> [N,D]: for those of LPIPS Eq. (1) of arXiv:1801.03924."""
    gap: Tensor = phi(a) - phi(b)
    return gap.square().sum(1)


def wants_features(instance: Any, attribute: Any, value: object) -> None:
    """Validator of a key `features` beside a key `distance`: one without the other is refused."""
    if (instance.distance == "lpips") != (value is not None):
        raise ValueError('\'features\' goes with distance = "lpips", and "lpips" with a [features] table')
