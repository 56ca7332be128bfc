"""Configs of diffusers as data: what they say of a network and its noise levels; no class is imported by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from distillkit.api import InputError

LARGEST = 4 << 20  # bytes of a config
Config = dict[str, Any]


def _integer(value: Any) -> bool:
    return type(value) is int and abs(value) <= 1 << 20


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e6


def _tuple(check: Callable[[Any], bool], most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and len(value) <= most and all(map(check, value))


def _or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _text(value: Any) -> bool:
    return type(value) is str and len(value) < 100


def _flag(value: Any) -> bool:
    return type(value) is bool


LEVELS = 12
# Of UNet2DModel: keys that `unet2d` has too, and what their values are.
SHARED: dict[str, Callable[[Any], bool]] = {
    "block_out_channels": _tuple(_integer, LEVELS), "down_block_types": _tuple(_text, LEVELS),
    "up_block_types": _tuple(_text, LEVELS), "mid_block_type": _or_null(_text),
    "layers_per_block": lambda value: _integer(value) and value <= 64, "downsample_type": _text, "upsample_type": _text,
    "downsample_padding": _integer, "mid_block_scale_factor": _number, "add_attention": _flag,
    "attention_head_dim": _or_null(_integer), "norm_num_groups": _integer, "attn_norm_num_groups": _or_null(_integer),
    "norm_eps": _number, "act_fn": _text, "dropout": _number, "resnet_time_scale_shift": _text,
    "time_embedding_dim": _or_null(_integer), "flip_sin_to_cos": _flag, "freq_shift": _number,
    "center_input_sample": _flag, "class_embed_type": _or_null(_text),
}  # fmt: skip
NONE: dict[str, int | str] = {  # what `unet2d` has for null
    "mid_block_type": "", "attention_head_dim": 0, "attn_norm_num_groups": 0, "time_embedding_dim": 0,
    "class_embed_type": "",
}  # fmt: skip
SHAPE = ("sample_size", "in_channels", "out_channels", "num_class_embeds")
# Of schedulers: keys that say how to sample, not what a network was trained on.
SAMPLING = frozenset((
    "algorithm_type", "base_image_seq_len", "base_shift", "clip_sample", "clip_sample_range", "disable_corrector",
    "dynamic_thresholding_ratio", "euler_at_final", "final_sigmas_type", "flow_shift", "interpolation_type",
    "lambda_min_clipped", "lower_order_final", "max_image_seq_len", "max_shift", "predict_x0", "sample_max_value",
    "set_alpha_to_one", "shift_terminal", "sigma_max", "sigma_min", "skip_prk_steps", "solver_order", "solver_p",
    "solver_type", "steps_offset", "stochastic_sampling", "thresholding", "time_shift_type", "timestep_spacing",
    "use_beta_sigmas", "use_dynamic_shifting", "use_exponential_sigmas", "use_karras_sigmas", "use_lu_lambdas",
    "variance_type",
))  # fmt: skip
TABLES = frozenset((
    "DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler", "LMSDiscreteScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler",
    "UniPCMultistepScheduler", "DEISMultistepScheduler",
))  # fmt: skip
FLOW = "FlowMatchEulerDiscreteScheduler"
NOISE: dict[str, Callable[[Any], bool]] = {
    "num_train_timesteps": _integer, "beta_schedule": _text, "beta_start": _number, "beta_end": _number,
    "trained_betas": _or_null(_tuple(_number, 1 << 16)), "rescale_betas_zero_snr": _flag, "prediction_type": _text,
}  # fmt: skip


def read(path: Path) -> Config:
    """A config. Raises InputError for what is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path.stat().st_size} bytes, at most {LARGEST}")
        found = json.loads(path.read_bytes(), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: no config of diffusers ({reason[:120]})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: no config of diffusers: it is not a table")
    return {key: value for key, value in found.items() if not key.startswith("_") or key == "_class_name"}


def unet(config: Config, path: Path) -> tuple[Config, int, int]:
    """Keys of `unet2d`, resolution and channels of a UNet2DModel's config. Raises InputError that names what is not."""
    made_by(config, {"UNet2DModel"}, path)
    keys = _checked(config, SHARED, path)
    left = set(config) - set(SHARED) - set(SHAPE) - {"_class_name"}
    if config.get("time_embedding_type", "positional") != "positional":
        _refuse(path, "time_embedding_type", config["time_embedding_type"], "only 'positional' is read")
    if left := left - {"time_embedding_type", "num_train_timesteps"}:  # the latter is for learned features alone
        raise InputError(f"{path}: {_shown(min(left))} = {_shown(config[min(left)])}: a key that is not known here")
    size = config.get("sample_size")
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    if type(size) is not int or not 1 <= size <= 1 << 14:
        _refuse(path, "sample_size", size, "the images' pixels, the same both ways, are needed")
    channels, outputs = config.get("in_channels", 3), config.get("out_channels", 3)
    if type(channels) is not int or not 1 <= channels <= 1 << 12 or outputs not in (channels, 2 * channels):
        _refuse(path, "out_channels", outputs, f"as many as in_channels, {_shown(channels)}, or twice as many are read")
    classes = config.get("num_class_embeds")
    if classes is not None and (type(classes) is not int or not 1 <= classes <= 1 << 20):
        _refuse(path, "num_class_embeds", classes, "a number of classes")
    keys |= {key: none for key, none in NONE.items() if key in keys and keys[key] is None}
    return {**keys, "learned_variances": outputs != channels}, size, channels


def noise(config: Config, path: Path) -> Config:
    """Keys of `NoiseConfig` of a scheduler's config. Raises InputError that names what is not known."""
    made_by(config, TABLES | {FLOW}, path)
    own = {"_class_name", "predict_epsilon"}
    if config["_class_name"] == FLOW:
        if config.get("invert_sigmas", False) is not False:
            _refuse(path, "invert_sigmas", config["invert_sigmas"], "only schedules that end in data are read")
        known = _checked(config, {"num_train_timesteps": _integer, "shift": _number}, path)
        _all_known(config, {*known, *SAMPLING, *own, "invert_sigmas"}, path)
        return {**known, "prediction_type": "flow"}
    for key, allowed in (("timestep_type", "discrete"), ("use_flow_sigmas", False)):
        if config.get(key, allowed) != allowed:
            _refuse(path, key, config[key], f"only {allowed!r} is read")
    known = _checked(config, NOISE, path)
    _all_known(config, {*NOISE, *SAMPLING, *own, "timestep_type", "use_flow_sigmas"}, path)
    if config.get("predict_epsilon") is False:  # before prediction_type
        known["prediction_type"] = "sample"
    if config["_class_name"] == "HeunDiscreteScheduler":  # which has other defaults
        known = {"beta_start": 0.00085, "beta_end": 0.012, **known}
    if known.get("prediction_type") == "flow":
        _refuse(path, "prediction_type", "flow", "it is not one of tables")
    return {key: value for key, value in known.items() if value is not None}


def made_by(config: Config, classes: set[str] | frozenset[str], path: Path) -> str:
    """The class that wrote a config. Raises InputError where it is none of these."""
    name = config.get("_class_name")
    if not isinstance(name, str) or name not in classes:
        _refuse(path, "_class_name", name, f"read are {', '.join(sorted(classes))}")
    return name


def _checked(config: Config, known: Mapping[str, Callable[[Any], bool]], path: Path) -> Config:
    found = {key: config[key] for key in known if key in config}
    for key, value in found.items():
        if not known[key](value):
            _refuse(path, key, value, "a value that is not known here")
    return found


def _all_known(config: Config, keys: set[str], path: Path) -> None:
    if left := set(config) - keys:
        raise InputError(f"{path}: {_shown(min(left))} = {_shown(config[min(left)])}: a key that is not known here")


def _refuse(path: Path, key: str, value: Any, why: str) -> NoReturn:
    raise InputError(f"{path}: {key} = {_shown(value)}: {why}")


def _shown(value: Any) -> str:
    return ascii(value)[:60]


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
