"""Importer of folders that diffusers' `save_pretrained` writes, with a UNet2DModel and its scheduler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from distillkit.api import Importer, InputError, UsageError
from distillkit_diffusers import configs
from distillkit_diffusers.networks import Unet2d

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SHARDS = WEIGHTS + ".index.json"
BESIDE = {"vae", "vqvae", "feature_extractor", "safety_checker", "image_encoder"}  # parts that no denoiser needs
OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # names of attention's weights
FLOATS = torch.float32, torch.float16, torch.bfloat16, torch.float64


class DiffusersFolder(Importer):
    """Folders of diffusers with a UNet2DModel and its scheduler: JSON and safetensors, read as data."""

    def declines(self, path: Path) -> str | None:
        """Whether it has a config of diffusers."""
        return "" if any((path / name).is_file() for name in (INDEX, CONFIG)) else f"no {INDEX} and no {CONFIG}"

    def reads(self, path: Path) -> list[Path]:
        """Configs and weights of network and scheduler."""
        unet, scheduler = _places(path)
        index = [path / INDEX] if (path / INDEX).is_file() else []
        return [*index, unet / CONFIG, scheduler, *_weight_files(unet)]

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        unet, scheduler = _places(path)
        config = configs.read(unet / CONFIG)
        keys, resolution, channels = configs.unet(config, unet / CONFIG)
        keys |= configs.noise(configs.read(scheduler), scheduler)
        made = _config(keys, unet / CONFIG)
        label_dim = {"timestep": 1, "identity": made.time_embedding_dim or 4 * made.block_out_channels[0]}.get(
            made.class_embed_type, config.get("num_class_embeds") or 0
        )
        tensors = _renamed(_tensors(unet))
        try:
            with torch.device("meta"):
                network = Unet2d(made).module(resolution, channels, label_dim)
        except (UsageError, ValueError, RuntimeError) as error:
            raise InputError(f"{unet / CONFIG}: {str(error).splitlines()[0]}") from error
        _check(network.state_dict(), tensors, unet)
        card = {"use": "unet2d", **json.loads(json.dumps(keys))}
        return {
            "network": card, "resolution": resolution, "channels": channels, "label_dim": label_dim,
        }, tensors  # fmt: skip

    def write(self, path: Path, network: nn.Module) -> bool:
        """Write a network `unet2d` as `save_pretrained` would: a folder that diffusers loads."""
        card: dict[str, Any] = getattr(network, "card", {})
        if card.get("network", {}).get("use") != "unet2d":
            return False
        keys = {key: value for key, value in card["network"].items() if key != "use"}
        made = _config({k: list(v) if isinstance(v, tuple) else v for k, v in keys.items()}, path)
        unet, scheduler = written(made, card)
        path.mkdir(parents=True)
        (path / CONFIG).write_text(json.dumps(unet, indent=2) + "\n", encoding="utf-8")
        (path / SCHEDULER).write_text(json.dumps(scheduler, indent=2) + "\n", encoding="utf-8")
        tensors = {k.removeprefix("model."): v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        safetensors.torch.save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})
        return True


def written(made: Unet2d.Config, card: dict[str, Any]) -> tuple[configs.Config, configs.Config]:
    """The configs of diffusers' model and scheduler for a network."""
    channels, table = card["channels"], card["label_dim"] and not made.class_embed_type
    unet = {
        "_class_name": "UNet2DModel", "sample_size": card["resolution"], "in_channels": channels,
        "out_channels": channels * (2 if made.learned_variances else 1),
        "num_class_embeds": card["label_dim"] + made.none_class if table else None,
        **{key: getattr(made, key) for key in configs.SHARED},
        **{key: getattr(made, key) or None for key in configs.NONE},
    }  # fmt: skip
    if made.prediction_type == "flow":
        steps = {"num_train_timesteps": made.num_train_timesteps, "shift": made.shift}
        return unet, {"_class_name": configs.FLOW, **steps}
    scheduler = {key: getattr(made, key) for key in configs.NOISE}
    return unet, {"_class_name": "DDPMScheduler", **scheduler, "trained_betas": list(made.trained_betas) or None}


def _places(path: Path) -> tuple[Path, Path]:
    """The folder of the network and the file of the scheduler. Raises InputError for parts that are not read."""
    if not (path / INDEX).is_file():
        return path, _scheduler(path)
    index = configs.read(path / INDEX)
    configs_of = {name: part for name, part in index.items() if name != "_class_name" and isinstance(part, list)}
    for name, part in configs_of.items():
        known = {"unet": {"UNet2DModel"}, "scheduler": {*configs.TABLES, configs.FLOW}}.get(name)
        class_name = part[1] if len(part) == 2 else None
        if known is None and name not in BESIDE and class_name is not None:
            raise InputError(
                f"{path / INDEX}: {name} is {ascii(class_name)[:60]}: pipelines with such a part are not read"
            )
        if known is not None and class_name not in known:
            read = ", ".join(sorted(known))
            raise InputError(f"{path / INDEX}: {name} is {ascii(class_name)[:60]}: read are {read}")
    if "unet" not in configs_of:
        raise InputError(f"{path / INDEX}: it lists no unet; read are pipelines of a UNet2DModel")
    unet = path / "unet" if (path / "unet").is_dir() else path  # DDPM's own folders have all files at the top
    return unet, _scheduler(path)


def _scheduler(path: Path) -> Path:
    for place in (path / "scheduler" / SCHEDULER, path / SCHEDULER):
        if place.is_file():
            return place
    raise InputError(
        f"{path}: no {SCHEDULER}, in it or in scheduler/: nothing says what noise the network's steps stand for; "
        "scheduler.save_pretrained(FOLDER) writes it"
    )


def _config(keys: configs.Config, where: Path) -> Unet2d.Config:
    known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in keys.items()}
    try:
        made = Unet2d.Config(**known)
        made.schedule()
    except (ValueError, TypeError, UsageError) as error:
        raise InputError(f"{where}: {str(error.args[0]).splitlines()[0][:160]}") from error
    return made


def _weight_files(unet: Path) -> list[Path]:
    """The files of weights. Raises InputError where there are none that are read."""
    if (unet / WEIGHTS).is_file():
        return [unet / WEIGHTS]
    if (unet / SHARDS).is_file():
        listed = configs.read(unet / SHARDS).get("weight_map")
        names = sorted({str(name) for name in listed.values()}) if isinstance(listed, dict) else []
        if wrong := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
            raise InputError(f"{unet / SHARDS}: {ascii(wrong[0])[:80]} is no .safetensors beside it")
        if missing := [name for name in names if not (unet / name).is_file()]:
            raise InputError(f"{unet / SHARDS}: {missing[0]} is missing")
        if names:
            return [unet / SHARDS, *(unet / name for name in names)]
        raise InputError(f"{unet / SHARDS}: it lists no files")
    pickles = sorted(unet.glob("*.bin"))
    told = f"{pickles[0].name} is a pickle, which is not read here; in diffusers " if pickles else "in diffusers "
    raise InputError(f"{unet}: no {WEIGHTS}; {told}save_pretrained(FOLDER) writes it")


def _tensors(unet: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file in _weight_files(unet):
        if file.suffix != ".safetensors":
            continue
        try:
            found = safetensors.torch.load_file(file)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{file}: damaged ({str(error)[:120]})") from error
        if twice := tensors.keys() & found.keys():
            raise InputError(f"{file}: {min(twice)} is in another file as well")
        for name, tensor in found.items():
            if tensor.dtype not in FLOATS or not tensor.isfinite().all():
                raise InputError(f"{file}: refused: {name} holds numbers that are no finite weights")
            tensors[name] = tensor.to(torch.float32).contiguous()
    return tensors


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under our names; attention's were others until 2023."""
    found = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if "attentions" in parts and parts[-2] in OLD:
            parts[-2] = OLD[parts[-2]]
        found["model." + ".".join(parts)] = tensor
    return found


def _check(wanted: dict[str, Tensor], found: dict[str, Tensor], unet: Path) -> None:
    """Raises InputError that lists what is missing, left over, or of another shape."""
    told = []
    for what, names in (("missing", wanted.keys() - found.keys()), ("left over", found.keys() - wanted.keys())):
        if names:
            shown = ", ".join(sorted(name.removeprefix("model.") for name in names)[:3])
            told.append(f"{what}: {shown}" + f" and {len(names) - 3} more" * (len(names) > 3))
    for name in sorted(wanted.keys() & found.keys()):
        if found[name].shape != wanted[name].shape and not told:
            told.append(f"{name.removeprefix('model.')} is {list(found[name].shape)}, not {list(wanted[name].shape)}")
    if told:
        raise InputError(f"{unet}: its weights are not those of its {CONFIG}; {'; '.join(told)}")
