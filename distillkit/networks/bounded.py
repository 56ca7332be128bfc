"""A network that a card tells of is no larger than the file of its weights, known before memory is taken for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from distillkit.api import InputError

SLACK = 4  # a constructor may make parameters that it replaces


class _TooLarge(Exception):
    """More parameters than the file can hold."""


def check(build: Callable[[], Any], weights: Path) -> None:
    """Build on the device "meta", where nothing takes memory, and count. Raises InputError once that is too much.

    A card that asks for a hundred million blocks ends after a few more than the file has tensors.
    """
    try:
        with safetensors.safe_open(weights, "pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError):
        return  # damaged: told where they are loaded
    tensors, numbers = SLACK * len(shapes) + 1000, SLACK * sum(map(math.prod, shapes)) + 1_000_000

    def count(module: nn.Module, name: str, parameter: Tensor | None) -> None:
        nonlocal tensors, numbers
        tensors, numbers = tensors - 1, numbers - (0 if parameter is None else parameter.numel())
        if tensors < 0 or numbers < 0:
            raise _TooLarge

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            build()
    except _TooLarge:
        told = f"{len(shapes)} tensors of {sum(map(math.prod, shapes))} numbers"
        raise InputError(f"{weights.with_suffix('.json')}: tells of a larger network than {told} beside it") from None
    except Exception:  # one that cannot be made without values, or at all: told where it is made in earnest
        return
    finally:
        hook.remove()
