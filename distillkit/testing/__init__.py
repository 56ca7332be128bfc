"""The testing kit of plugins: a contract per kind, and a toy world to try components in. Needs pytest."""

import pytest

for _part in (
    "commands",
    "component",
    "data",
    "importers",
    "launching",
    "loggers",
    "losses",
    "networks",
    "optimizers",
    "parts",
    "replay",
    "sampling",
):
    pytest.register_assert_rewrite(f"distillkit.testing.{_part}")  # failures show the values

from distillkit.testing.adapters import AdapterContract  # noqa: E402
from distillkit.testing.commands import CommandContract  # noqa: E402
from distillkit.testing.component import ComponentContract  # noqa: E402
from distillkit.testing.contracts import CONTRACTS  # noqa: E402
from distillkit.testing.data import DatasetContract, EvaluateContract  # noqa: E402
from distillkit.testing.importers import ImporterContract  # noqa: E402
from distillkit.testing.launching import LaunchContract  # noqa: E402
from distillkit.testing.loggers import LoggerContract  # noqa: E402
from distillkit.testing.losses import AuxiliaryLossContract, GeneratorLossContract  # noqa: E402
from distillkit.testing.networks import NetworkContract  # noqa: E402
from distillkit.testing.optimizers import ScheduleContract, UpdateRuleContract  # noqa: E402
from distillkit.testing.parts import (  # noqa: E402
    AugmentContract,
    BackboneContract,
    EmbeddingContract,
    FeaturesContract,
    KernelContract,
)
from distillkit.testing.ranks import simulated  # noqa: E402
from distillkit.testing.replay import Affine, lognormal_draw, replayed  # noqa: E402
from distillkit.testing.sampling import GuidanceContract, SampleContract, TeacherScoreContract  # noqa: E402
from distillkit.testing.toys import save_network, tiny_recipe, toy_recipe, toy_state, toy_step  # noqa: E402

__all__ = [
    "CONTRACTS", "AdapterContract", "Affine", "AugmentContract", "AuxiliaryLossContract", "BackboneContract",
    "CommandContract", "ComponentContract", "DatasetContract", "EmbeddingContract", "EvaluateContract",
    "FeaturesContract", "GeneratorLossContract", "GuidanceContract", "ImporterContract", "KernelContract",
    "LaunchContract", "LoggerContract", "NetworkContract", "SampleContract", "ScheduleContract", "TeacherScoreContract",
    "UpdateRuleContract", "lognormal_draw", "replayed", "save_network", "simulated", "tiny_recipe", "toy_recipe",
    "toy_state", "toy_step",
]  # fmt: skip
