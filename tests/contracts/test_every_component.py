"""Every component that is installed keeps the contract of its kind; a new plugin's are picked up by themselves."""

from __future__ import annotations

import tarfile
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import attrs
import numpy as np
import pytest
import torch
from distillkit_gdd import vgg
from networks_of_others import write_pickle, write_pipeline, write_state_dict, write_transformer
from PIL import Image
from torch import Tensor, nn

from distillkit.api import KINDS, Layout
from distillkit.networks.network_file import new_network
from distillkit.recipe import choice_from_table
from distillkit.recipe.tiny import tiny
from distillkit.registry import Catalog, Offer
from distillkit.testing import CONTRACTS, save_network, toy_state
from distillkit.testing.toys import catalog

UNET = {
    "use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "dropout": 0.0,
}  # fmt: skip
EDM2 = {**UNET, "use": "edm2", "channels_per_head": 8}
HEADS = {"use": "guided-flow-map", "network": {**UNET, "second_time": True}}
SIDA = {
    "recipe": {"teacher_score": {"network": UNET}},
    "batch_level": "SiDA's adversarial loss is one number over the images of a micro-batch, as in the paper's code",
}
GDD = {
    "recipe": {"teacher_score": {"network": UNET}},
    "batch_level": "the discriminator's batch norms see a micro-batch, as in the paper's code",
}
CTM = {
    "config": {"N": 4, "h": 2},
    "batch_level": "CTM weighs its losses by gradients of a micro-batch, as in the authors' code",
}
AT_ONCE = {  # DMD's: no warm-up, steps that single precision can show
    "config": {"lr": 1e-3},
    "recipe": {
        "teacher_score": {"network": UNET}, "generator": {"optimizer": {"lr": 1e-3, "warmup_kimg": 0.0}},
    },
}  # fmt: skip
WORDS = {"tokens": 3, "token_width": 4, "pooled": 2, "guidance": True}
POINTS = {
    "dataset": {"use": "gaussian-mixture", "size": 256},
    "generator": {"init": "scratch", "network": {"use": "mlp", "width": 16}},
}


def write_teacher(self: Any, folder: Path) -> None:
    """The checkpoint that teacher_score `network` is given."""
    choice = choice_from_table("network", UNET, catalog(), where="teacher")
    save_network(folder / "teacher", choice, toy_state().dataset)


def write_weak_teacher(self: Any, folder: Path) -> None:
    """The checkpoint that `autoguidance` is given."""
    choice = choice_from_table("network", {"use": "mlp", "width": 8, "depth": 1}, catalog(), where="guide")
    save_network(folder / "teacher", choice, toy_state().dataset)


def write_diffusers(self: Any, folder: Path) -> None:
    """A folder as diffusers saves a U-Net and its scheduler."""
    choice = tiny(choice_from_table("network", {"use": "unet2d"}, catalog(), where="toy"))
    assert self.choice.build().write(folder / self.path, new_network(choice, 4, 3, 2))


def write_weights(self: Any, folder: Path) -> None:
    """Weights of a published backbone: one number per tensor, which takes no room in the file."""
    with torch.device("meta"):
        wanted = self.choice.build().layers().state_dict()
    mean = {name: 1 / t[0].numel() if t.ndim > 1 else 0.5 for name, t in wanted.items()}
    tensors = {name: torch.tensor(mean[name]).to(t.dtype).expand(t.shape) for name, t in wanted.items()}
    torch.save(tensors, folder / "weights.pth")


def write_vgg16(self: Any, folder: Path) -> None:
    """VGG-16's weights for LPIPS: one random number per channel and layer, which takes little room in the file."""
    with torch.device("meta"):
        wanted = vgg.Features(batch_norm=False).state_dict()
    draw = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(len(t), *[1] * (t.ndim - 1), generator=draw) for name, t in wanted.items()}
    torch.save({name: (t / wanted[name][0].numel()).expand(wanted[name].shape) for name, t in tensors.items()},
               folder / "vgg16.pth")  # fmt: skip


def write_images(self: Any, folder: Path) -> None:
    """Twelve noise images in three classes, in every form that a data set of images reads."""
    u = np.random.RandomState(0).randint(0, 256, (12, 32, 32, 3), np.uint8)
    for i, pixels in enumerate(u[:, :8, :8]):
        path = folder / "images" / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    with ZipFile(folder / "images.zip", "w") as archive:
        for path in sorted((folder / "images").rglob("*.png")):
            archive.write(path, path.relative_to(folder / "images"))
    (folder / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"shards/{shard}.tar", "w") as tar:
            for i in range(6 * shard, 6 * shard + 6):
                image = (folder / "images" / "abc"[i % 3] / f"{i}.png").read_bytes()
                for name, data in ((f"{i}.png", image), (f"{i}.cls", b"%d" % (i % 3))):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, BytesIO(data))
    with ZipFile(folder / "latents.zip", "w") as archive:
        for i, moments in enumerate(np.random.RandomState(0).rand(12, 8, 4, 4).astype(np.float32)):
            file = BytesIO()
            np.save(file, moments)
            archive.writestr(f"{'abc'[i % 3]}/{i}.npy", file.getvalue())
    np.savez(folder / "images.npz", images=u[:, :8, :8], labels=np.arange(12) % 3)
    rows = np.concatenate([np.arange(12, dtype=np.uint8)[:, None] % 10, u.reshape(12, -1)], axis=1)
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as tar:
        for i, name in enumerate([*(f"data_batch_{j}" for j in range(1, 6)), "test_batch"]):
            info, data = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin"), rows[2 * i : 2 * i + 2].tobytes()
            info.size = len(data)
            tar.addfile(info, BytesIO(data))


def write_rows(self: Any, folder: Path) -> None:
    """Twelve of them as the library `datasets` saves them."""
    datasets = pytest.importorskip("datasets", reason="the contract of huggingface was not tried: datasets is missing")
    write_images(self, folder)
    rows = [(folder / "images" / "abc"[i % 3] / f"{i}.png").read_bytes() for i in range(12)]
    table = {"image": [{"bytes": row, "path": None} for row in rows], "label": [i % 3 for i in range(12)]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list("abc"))})
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(table, features=features).save_to_disk(folder / "rows")


class TinyInception(nn.Module):
    """Called like the published Inception file: bytes -> 4 features, or probabilities of 4 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, x: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        features = self.conv(x.float() / 255).relu().mean((2, 3))
        return features if return_features else features.softmax(1)


class TinyLpips(TinyInception):
    """Called like StyleGAN's vgg16.pt: images in [0,255] -> features whose squared distance counts."""

    def forward(self, x: Tensor, resize_images: bool = True, return_lpips: bool = False) -> Tensor:
        return self.conv(x / 255).tanh().flatten(1)


def write_lpips(self: Any, folder: Path) -> None:
    write_script(TinyLpips, folder / "vgg16.pt")


def write_inception(self: Any, folder: Path) -> None:
    """The TorchScript file that the metrics with published protocols are given."""
    write_script(TinyInception, folder / "features.pt")


def write_script(network: type[nn.Module], path: Path) -> None:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a format that published networks still have
        torch.manual_seed(0)
        torch.jit.save(torch.jit.script(network()), path)


def killed_wandb(self: Any, logger: Any) -> None:
    """Its own process writes on when ours is killed; within one process it has to end first."""
    logger.run.finish(exit_code=1)
    logger.told.settle()


# A metric with a published protocol.
PUBLISHED = {
    "config": {"features": {"use": "inception", "network": "features.pt"}},
    "recipe": {"dataset": {"channels": 3}},
    "files": write_inception,
}
# What a contract needs beyond the component's own defaults: keys without a default, exceptions.
NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("dataset", "image-zip"): {"config": {"path": "images.zip", "held_out": 3}, "files": write_images},
    ("dataset", "image-folder"): {"config": {"path": "images", "memory": "file"}, "files": write_images},
    ("dataset", "webdataset"): {"config": {"path": "shards", "memory": "file", "held_out": 3}, "files": write_images},
    ("dataset", "huggingface"): {"config": {"path": "rows", "memory": "file", "held_out": 3}, "files": write_rows},
    ("dataset", "latents"): {"config": {"path": "latents.zip", "held_out": 3}, "files": write_images},
    ("dataset", "npz"): {"config": {"path": "images.npz", "xflip": True, "held_out": 3}, "files": write_images},
    ("dataset", "cifar10"): {"config": {"path": "cifar.tar.gz"}, "files": write_images},
    ("teacher_score", "network"): {"config": {"checkpoint": "teacher"}, "files": write_teacher},
    ("teacher_score", "diffusers"): {
        "config": {"folder": "pipeline"},
        "files": write_pipeline,
        "recipe": {"generator": {"init": "scratch", "network": {"use": "mlp", "width": 8, "depth": 1}}},
        "sigmas": (1.0, 5.0),
    },
    ("teacher_score", "gaussian-mixture"): {"recipe": POINTS},
    ("guidance", "autoguidance"): {"config": {"guide": "teacher"}, "files": write_weak_teacher},
    ("network", "edm-ddpmpp"): {"config": {"dropout": 0.0, "augment_dim": 9}},
    ("network", "edm-ncsnpp"): {"config": {"dropout": 0.0}},
    ("network", "edm-adm"): {"config": {"dropout": 0.0}},
    ("network", "text-dit"): {"config": WORDS, "layout": Layout(tokens=3, width=4, pooled=2, guidance=True)},
    ("network", "guided-flow-map"): {"config": {"network": HEADS["network"]}},
    ("network", "edm2"): {"config": {"logvar_channels": 0}},  # D itself does not use the expected error
    ("generator_loss", "edm2"): {"recipe": {"generator": {"init": "scratch", "network": EDM2}}},
    ("sample", "heun"): {"config": {"S_churn": 1.0}},
    **{("generator_loss", name): SIDA for name in ("sida", "sid2a")},
    **{("generator_loss", name): CTM for name in ("ctm", "ctm-gan")},
    **{("generator_loss", name): GDD for name in ("gdd", "gdd-i")},
    ("backbone", "teacher-encoder"): {"recipe": {"teacher_score": {"network": UNET}}},
    **{("generator_loss", name): AT_ONCE for name in ("dmd", "dmd2")},
    ("generator_loss", "imf"): {"recipe": {"generator": {"init": "scratch", "network": HEADS}}},
    ("generator_loss", "imm"): {"config": {"label_dropout": 0.2}},
    ("generator_loss", "realuid"): {"config": {"updates": 1, "alpha": 0.9, "beta": 0.95}},
    ("auxiliary_loss", "regression"): {
        "waits": {"pairs.py:__getitem__": "for nothing: the pairs are files, and their numbers are the host's"},
    },
    ("auxiliary_loss", "adversarial"): {"recipe": {"teacher_score": {"network": UNET}}},
    ("evaluate", "mixture"): {"recipe": POINTS},
    **{
        ("backbone", name): {"config": {"weights": "weights.pth", "size": 32}, "files": write_weights}
        for name in ("squeezenet", "vgg16-bn", "efficientnet-lite0", "deit")
    },
    ("embedding", "lpips-torchscript"): {
        "config": {"network": "vgg16.pt", "size": 16},
        "files": write_lpips,
        "channels": (1, 3),
        "seeded": False,
    },
    ("embedding", "lpips-vgg16"): {
        "config": {"weights": "vgg16.pth", "size": 32},
        "files": write_vgg16,
        "channels": (1, 3),
        "seeded": False,
    },
    ("auxiliary_loss", "frechet"): {
        "waits": {
            "fd_loss.py:distance": "torch checks on the host whether the eigenvalues converged",
            "fd_loss.py:auxiliary_loss": "images that are not finite are left out, when it has waited anyway",
        },
    },
    ("evaluate", "fid"): PUBLISHED,
    ("evaluate", "inception-score"): PUBLISHED,
    ("evaluate", "precision-recall"): PUBLISHED,
    **{
        ("features", name): {**PUBLISHED, "config": {"network": "features.pt"}} for name in ("inception", "torchscript")
    },
    ("evaluate", "layer-activation"): {"recipe": {"teacher_score": {"network": UNET}}},
    ("importer", "pkl"): {"files": write_pickle},
    **{("importer", name): {"files": write_state_dict} for name in ("bin", "pt", "pth", "safetensors")},
    **{
        ("importer", name): {"files": write_transformer}
        for name in ("dit.pt", "dit.safetensors", "sit.pt", "sit.safetensors", "fastgen.pth")
    },
    ("importer", "diffusers.folder"): {"files": write_diffusers},
    ("kernel", "energy"): {"conditionally": True},
    ("optimizer", "prodigy"): {"settings": {"lr": 1.0, "betas": (0.9, 0.99)}},
    ("logger", "wandb"): {"config": {"mode": "offline", "machine": False}, "kill": killed_wandb},
}


def missing_keys(offer: Offer) -> list[str]:
    """Keys that a recipe must give and NEEDED does not."""
    given = NEEDED.get((offer.kind, offer.name), {}).get("config", {})
    required = [one.name.rstrip("_") for one in attrs.fields(offer.load().Config) if one.default is attrs.NOTHING]
    return [key for key in required if key not in given]


# Old names are read as the new ones; networks as their authors wrote them are in tests/builtin.
ELSEWHERE = ("network", "converted")
OFFERS = [
    offer for offer in Catalog.installed().offers
    if (offer.kind, offer.name) != ELSEWHERE and offer.load().renamed is None
]  # fmt: skip
for offer in OFFERS:
    attributes = {"use": offer.name, **NEEDED.get((offer.kind, offer.name), {})}
    name = f"Test_{offer.kind}_{offer.name}".replace("-", "_").replace(".", "_")
    globals()[name] = type(name, (CONTRACTS[offer.kind],), attributes)


def test_every_kind_has_a_contract() -> None:
    assert list(CONTRACTS) == list(KINDS)


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: f"{offer.kind}-{offer.name}")
def test_a_contract_can_be_made_for_every_component(offer: Offer) -> None:
    missing = missing_keys(offer)
    assert not missing, f"add {', '.join(missing)} of {offer.kind} {offer.name} to NEEDED in {Path(__file__).name}"


def test_nothing_is_listed_that_is_not_installed() -> None:
    assert set(NEEDED) <= {(offer.kind, offer.name) for offer in OFFERS}
