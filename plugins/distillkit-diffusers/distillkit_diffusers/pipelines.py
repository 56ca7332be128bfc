"""What a folder of diffusers holds: which model, what its steps stand for, how its latents are scaled; data alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen

from distillkit.api import InputError
from distillkit_diffusers import configs
from distillkit_diffusers.schedules import NoiseConfig

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
PARTS = ("unet", "transformer")  # of a pipeline, that denoise


@frozen(kw_only=True)
class Pipeline:
    """The parts of a folder that a teacher needs."""

    model: Path  # folder of config.json and weights
    config: dict[str, Any]
    noise: NoiseConfig
    vae: dict[str, Any] | None = None  # its config, where the pipeline has one

    @property
    def cls(self) -> str:
        """Name of the model's class."""
        return str(self.config["_class_name"])

    @property
    def latent_scale(self) -> tuple[float, float] | None:
        """(factor, shift) of the latents (z - shift) factor that the model sees of a VAE's z; None: it sees pixels."""
        if self.vae is None:
            return None
        return float(self.vae.get("scaling_factor") or 1), float(self.vae.get("shift_factor") or 0)

    @property
    def pixels(self) -> int:
        """Pixels a side of one of the model's."""
        return 1 if self.vae is None else 2 ** (len(self.vae.get("block_out_channels", (0,))) - 1)


def read(folder: Path, component: str, known: frozenset[str], interpolated: bool = False) -> Pipeline:
    """The pipeline of a folder, or its `component` alone where it is named.

    Raises InputError where there is no model of a class that is known, or nothing that tells its noise levels.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; diffusers' save_pretrained(FOLDER) writes one")
    model = _model(folder, component, known)
    config = configs.read(model / CONFIG)
    configs.made_by(config, known, model / CONFIG)
    noise = _noise(folder, model, interpolated)
    vae = folder / "vae" / CONFIG
    return Pipeline(model=model, config=config, noise=noise, vae=configs.read(vae) if vae.is_file() else None)


def _model(folder: Path, component: str, known: frozenset[str]) -> Path:
    if not (folder / INDEX).is_file():
        return folder / component if component else folder
    index = configs.read(folder / INDEX)
    parts = {name: part[1] for name, part in index.items() if isinstance(part, list) and len(part) == 2 and part[1]}
    if component and component not in parts:
        raise InputError(f"{folder / INDEX}: no component {component!r}; there are {', '.join(sorted(parts))}")
    found = [component] if component else [name for name in PARTS if name in parts]
    if len(found) != 1:
        told = f"{' and '.join(found)}: name one as component" if found else f"no {' and no '.join(PARTS)}"
        raise InputError(f"{folder / INDEX}: {told}")
    if parts[found[0]] not in known:
        shown = ascii(parts[found[0]])[:60]
        raise InputError(f"{folder / INDEX}: {found[0]} is {shown}; read are {', '.join(sorted(known))}")
    # DDPM's own folders have all files at the top.
    return folder / found[0] if (folder / found[0]).is_dir() else folder


def _noise(folder: Path, model: Path, interpolated: bool) -> NoiseConfig:
    places = [place / SCHEDULER for place in (folder / "scheduler", folder, model.parent / "scheduler", model)]
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        raise InputError(
            f"{folder}: no {SCHEDULER}, in it or in scheduler/: nothing says what noise the model's steps stand for; "
            "scheduler.save_pretrained(FOLDER) writes it"
        )
    found = configs.noise(configs.read(place), place)
    keys: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    try:
        made = NoiseConfig(**keys, interpolated=interpolated)
        made.schedule()
    except (ValueError, TypeError) as error:
        raise InputError(f"{place}: {str(error.args[0]).splitlines()[0][:160]}") from error
    return made
