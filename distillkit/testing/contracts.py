"""The contract of every kind."""

from __future__ import annotations

from distillkit.testing.adapters import AdapterContract
from distillkit.testing.commands import CommandContract
from distillkit.testing.component import ComponentContract
from distillkit.testing.data import DatasetContract, EvaluateContract
from distillkit.testing.importers import ImporterContract
from distillkit.testing.launching import LaunchContract
from distillkit.testing.loggers import LoggerContract
from distillkit.testing.losses import AuxiliaryLossContract, GeneratorLossContract
from distillkit.testing.networks import NetworkContract
from distillkit.testing.optimizers import ScheduleContract, UpdateRuleContract
from distillkit.testing.parts import (
    AugmentContract,
    BackboneContract,
    EmbeddingContract,
    FeaturesContract,
    KernelContract,
)
from distillkit.testing.sampling import GuidanceContract, SampleContract, TeacherScoreContract

CONTRACTS: dict[str, type[ComponentContract]] = {
    contract.kind: contract
    for contract in (
        DatasetContract, TeacherScoreContract, GuidanceContract, NetworkContract, AdapterContract, SampleContract,
        GeneratorLossContract, AuxiliaryLossContract, EvaluateContract, AugmentContract, EmbeddingContract,
        BackboneContract, KernelContract,
        FeaturesContract, UpdateRuleContract, ScheduleContract, ImporterContract, LoggerContract,
        LaunchContract, CommandContract,
    )
}  # fmt: skip
