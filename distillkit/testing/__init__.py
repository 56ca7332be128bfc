"""The testing kit of plugins: a contract per kind, and a toy world to try components in. Needs pytest."""

import pytest

for _part in ("component", "data", "importers", "losses", "networks", "parts", "sampling"):
    pytest.register_assert_rewrite(f"distillkit.testing.{_part}")  # failures show the values

from distillkit.testing.contracts import (  # noqa: E402
    CONTRACTS,
    AugmentContract,
    AuxiliaryLossContract,
    BackboneContract,
    ComponentContract,
    DatasetContract,
    EmbeddingContract,
    EvaluateContract,
    FeaturesContract,
    GeneratorLossContract,
    GuidanceContract,
    ImporterContract,
    KernelContract,
    NetworkContract,
    SampleContract,
    TeacherScoreContract,
)
from distillkit.testing.toys import save_network, toy_recipe, toy_state, toy_step  # noqa: E402

__all__ = [
    "CONTRACTS", "AugmentContract", "AuxiliaryLossContract", "BackboneContract", "ComponentContract",
    "DatasetContract", "EmbeddingContract", "EvaluateContract", "FeaturesContract", "GeneratorLossContract",
    "GuidanceContract", "ImporterContract", "KernelContract", "NetworkContract", "SampleContract",
    "TeacherScoreContract", "save_network", "toy_recipe", "toy_state", "toy_step",
]  # fmt: skip
