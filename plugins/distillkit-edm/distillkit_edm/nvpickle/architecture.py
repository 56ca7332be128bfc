"""Class names and constructor arguments -> one of our networks, and a check that the tensors are its."""

from __future__ import annotations

import math
from typing import Any

import attrs
import torch
from torch import Tensor

from distillkit.api import Network, UsageError
from distillkit_edm.edm2.network import Edm2
from distillkit_edm.networks import Adm, DdpmPP, NcsnPP
from distillkit_edm.nvpickle.modules import Module
from distillkit_edm.nvpickle.refused import UnsafeFile
from distillkit_edm.nvpickle.symbols import shown

# Preconditioning class -> what our network needs to be told (EDM, SiDA; ECT, arXiv:2406.14548; GDD).
PRECONDITIONING: dict[str, dict[str, Any]] = {
    "EDMPrecond": {},
    "EDMPrecond_EncoderDecoder": {},
    "ECMPrecond": {"preconditioning": "ect", "boundary": 0.003},
    "GDDPrecond": {"preconditioning": "consistency", "boundary": 0.002},
}
# EDM2's and SiDA's (arXiv:2312.02696): the raw network's class.
EDM2 = {
    "Precond": "UNet", "EDM_2_Precond_EncoderDecoder": "UNet_EncoderDecoder",
    "EDM_2_Precond_Generator": "UNet_EncoderDecoder",
}  # fmt: skip
OTHERS = ("VPPrecond", "VEPrecond", "iDDPMPrecond")
SONG, DHARIWAL = ("SongUNet", "SongUNet_EncoderDecoder"), ("DhariwalUNet", "DhariwalUNet_EncoderDecoder")
POSITIONS = ("img_resolution", "img_channels", "label_dim", "use_fp16", "sigma_min", "sigma_max", "sigma_data")
SHAPE = ("img_resolution", "img_channels", "label_dim")
# SongUNet's arguments that tell DDPM++ from NCSN++, in EDM's defaults.
STYLE = {
    "embedding_type": "positional", "encoder_type": "standard", "decoder_type": "standard", "channel_mult_noise": 1,
    "resample_filter": [1, 1],
}  # fmt: skip
STYLES = {
    "edm-ddpmpp": STYLE,
    "edm-ncsnpp": {
        "embedding_type": "fourier", "encoder_type": "residual", "decoder_type": "standard", "channel_mult_noise": 2,
        "resample_filter": [1, 3, 3, 1],
    },
}  # fmt: skip
NETWORKS: dict[str, type[Network]] = {"edm-ddpmpp": DdpmPP, "edm-ncsnpp": NcsnPP, "edm-adm": Adm, "edm2": Edm2}
# Largest value of a whole number, and of each in a list: a network beyond these is a mistake or an attack.
WHOLE = {
    "img_resolution": 4096, "img_channels": 64, "label_dim": 100_000, "model_channels": 2048, "channel_mult_emb": 16,
    "num_blocks": 32, "augment_dim": 64, "channels_per_head": 1024, "logvar_channels": 4096,
    "dropout_resolution": 4096,
}  # fmt: skip
LISTS = {"channel_mult": 16, "attn_resolutions": 4096}
REALS = (
    "dropout", "label_dropout", "sigma_min", "sigma_max", "sigma_data", "label_balance", "concat_balance",
    "res_balance", "attn_balance", "clip_act",
)  # fmt: skip


def card_of(module: Module) -> dict[str, Any]:
    """How to build our network for a module read from a pickle. Raises UnsafeFile if there is none."""
    if module.name in OTHERS:
        raise UnsafeFile(f"{module.name} preconditions in another way than EDM; no network here does")
    if module.name not in {*PRECONDITIONING, *EDM2}:
        raise UnsafeFile(f"{shown(module.name)} is no network that distillkit-edm knows")
    if len(module.args) > (0 if module.name in EDM2 else len(POSITIONS)):
        raise UnsafeFile(f"{module.name} was made with {len(module.args)} positional arguments")
    given = {**dict(zip(POSITIONS, module.args, strict=False)), **module.kwargs}
    given.pop("use_fp16", None)
    use = _edm2(module, given) if module.name in EDM2 else _edm(module, given)
    keys = {key: _value(key, value) for key, value in given.items()}
    size = {key: keys.pop(key, 0) for key in SHAPE}
    if keys.get("sigma_max") == math.inf:
        del keys["sigma_max"]  # the default, which JSON cannot write
    resolution, channels, label_dim = size.values()
    network = {"use": use, **keys, **PRECONDITIONING.get(module.name, {})}
    return {"network": network, "resolution": resolution, "channels": channels, "label_dim": label_dim}


def _edm(module: Module, given: dict[Any, Any]) -> str:
    """The network inside EDM's preconditioning, whose own arguments are then removed."""
    unet = given.pop("model_type", "DhariwalUNet")
    if type(unet) is not str or unet not in SONG + DHARIWAL or module.child("model").name != unet:
        raise UnsafeFile(f"the network inside {module.name} is none of {', '.join(SONG + DHARIWAL)}")
    return "edm-adm" if unet in DHARIWAL else _style(given)


def _edm2(module: Module, given: dict[Any, Any]) -> str:
    """EDM2's network; what concerns only training is removed from its arguments, and its own default put in."""
    if module.child("unet").name != EDM2[module.name]:
        raise UnsafeFile(f"the network inside {module.name} is no {EDM2[module.name]}")
    for key in ("force_normalization", "use_gan", "return_logvar"):
        given.pop(key, None)
    given.setdefault("model_channels", 192)
    if (largest := given.pop("dropout_res", None)) not in (None, 0):  # ECT's name; 0 is none as well
        given["dropout_resolution"] = largest
    if "logvar_linear" not in module.state["_modules"]:
        given["logvar_channels"] = 0
    return "edm2"


def _style(given: dict[Any, Any]) -> str:
    """DDPM++ or NCSN++, from the arguments that only tell them apart, which are removed."""
    style = {key: given.pop(key, default) for key, default in STYLE.items()}
    for name, wanted in STYLES.items():
        if all(type(style[key]) is type(value) and _same(style[key], value) for key, value in wanted.items()):
            return name
    raise UnsafeFile("its SongUNet is neither DDPM++ nor NCSN++")


def _same(a: Any, b: Any) -> bool:
    if type(a) is not list:
        return bool(a == b)
    return len(a) == len(b) and all(type(x) is int and x == y for x, y in zip(a, b, strict=True))


def _value(key: Any, value: Any) -> Any:
    """A constructor argument, checked. Raises UnsafeFile if it is unknown, or none that a network has."""
    if key in LISTS and type(value) is list and len(value) <= 8:
        return [_whole(key, item, LISTS[key]) for item in value]
    if key in WHOLE:
        return _whole(key, value, WHOLE[key])
    if key in REALS and type(value) in (int, float) and 0 <= value and not (value > 1e6 and key != "sigma_max"):
        return float(value)
    raise UnsafeFile(f"the network was made with {shown(str(key))}, or a value of it, that none here has")


def _whole(key: str, value: Any, largest: int) -> int:
    if type(value) is not int or not 0 <= value <= largest:
        raise UnsafeFile(f"{key} is no whole number from 0 to {largest}")
    return value


def check_tensors(card: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Raises UnsafeFile unless the tensors have exactly the names and shapes of the card's network."""
    shapes = _shapes(card)
    for name, want in shapes.items():
        got = list(tensors[name].shape) if name in tensors else "missing"
        if got != want:
            raise UnsafeFile(f"{name} is {got}; {card['network']['use']} of these arguments has {want}")
    extra = sorted(set(tensors) - set(shapes))
    if extra:
        raise UnsafeFile(f"{card['network']['use']} of these arguments has no {extra[0]}")


def _shapes(card: dict[str, Any]) -> dict[str, list[int]]:
    """Shapes by name of the network that a card describes; none of its numbers is made."""
    keys = {k: tuple(v) if type(v) is list else v for k, v in card["network"].items() if k != "use"}
    cls = NETWORKS[card["network"]["use"]]
    unknown = sorted(set(keys) - {key.name for key in attrs.fields(cls.Config)})
    if unknown:
        raise UnsafeFile(f"{card['network']['use']} has no argument {unknown[0]}")
    if card["resolution"] < 1 or card["channels"] < 1:
        raise UnsafeFile(f"images of {card['channels']} channels and {card['resolution']} pixels")
    try:
        with torch.device("meta"):
            network = cls(cls.Config(**keys)).module(card["resolution"], card["channels"], card["label_dim"])
    except (ValueError, UsageError) as error:
        raise UnsafeFile(f"no network can be built from its arguments: {error.args[0]}") from error
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
