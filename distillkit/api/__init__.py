"""What a plugin may import. Importing this imports no torch."""

from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, in_, le, lt, min_len, optional

from distillkit.api.augment import Augment, check_augment
from distillkit.api.choice import Choice, Use
from distillkit.api.command import Command
from distillkit.api.component import Component
from distillkit.api.condition import Condition, Layout, Prompts
from distillkit.api.dataset import Dataset
from distillkit.api.errors import (
    DistillkitError,
    Diverged,
    InputError,
    Lost,
    PluginError,
    Preempted,
    ResourceError,
    UsageError,
)
from distillkit.api.hooks import Hooks, hookimpl, hookspec
from distillkit.api.keys import FILE, INFINITE, NO_BITS, PROGRAM, added_later
from distillkit.api.kinds import (
    KINDS,
    Adapter,
    AuxiliaryLoss,
    Backbone,
    Embedding,
    Evaluate,
    Features,
    GeneratorLoss,
    Guidance,
    Importer,
    Kernel,
    Network,
    Sample,
    TeacherScore,
)
from distillkit.api.launch import Launch, Submitted
from distillkit.api.logger import Logger, RunInfo
from distillkit.api.logits import record_logits
from distillkit.api.network import (
    Blocks,
    Denoise,
    DenoisedFeatures,
    Denoiser,
    EncoderDecoder,
    EncoderFeatures,
    FlowMap,
    ForcedNormalization,
    LogVar,
    OncePerTurn,
    Rebuildable,
    Teacher,
)
from distillkit.api.optimizer import Schedule, UpdateRule
from distillkit.api.rollout import Rollout, asked_levels, rollout_of
from distillkit.api.state import Sampling, State
from distillkit.api.step import Step
from distillkit.api.types import Draw, Images, Optimizer, Picture, Term, Turn

__all__ = [
    "FILE", "INFINITE", "KINDS", "NO_BITS", "PROGRAM", "Adapter", "Augment", "AuxiliaryLoss", "Backbone", "Blocks",
    "Choice", "Command", "Component", "Condition", "Dataset", "Denoise", "DenoisedFeatures", "Denoiser",
    "DistillkitError", "Diverged", "Draw", "Embedding", "EncoderDecoder", "EncoderFeatures", "Evaluate", "Features",
    "FlowMap", "ForcedNormalization", "GeneratorLoss", "Guidance", "Hooks", "Images", "Importer", "InputError",
    "Kernel", "Launch", "Layout", "LogVar", "Logger", "Lost", "Network", "OncePerTurn", "Optimizer", "Picture",
    "PluginError", "Preempted", "Prompts", "Rebuildable", "ResourceError", "Rollout", "RunInfo", "Sample", "Sampling",
    "Schedule", "State", "Step", "Submitted", "Teacher", "TeacherScore", "Term", "Turn", "UpdateRule", "UsageError",
    "Use", "added_later", "and_", "asked_levels", "check_augment", "deep_iterable", "field", "frozen", "ge", "gt",
    "hookimpl", "hookspec", "in_", "le", "lt", "min_len", "optional", "record_logits", "rollout_of",
]  # fmt: skip
