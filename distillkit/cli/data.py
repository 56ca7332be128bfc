"""`distillkit data`: pack images into a data set, look at one that is there, measure it for FID."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections import Counter
from difflib import get_close_matches
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillkit.api import Dataset, InputError, UsageError
from distillkit.cli import arguments

if TYPE_CHECKING:
    from torch import Tensor

MANY = 1000  # files of a folder that are looked at
NAMES = {
    ".zip": "image-zip",
    ".npz": "npz",
    ".tar.gz": "cifar10",
    ".tgz": "cifar10",
    ".tar": "webdataset",
}  # of kind dataset, by suffix
FOLDERS = {  # by what lies in a folder
    "webdataset": ("*.tar",),
    "huggingface": ("state.json", "dataset_dict.json", "*.parquet"),
}
IN_FILES = (
    "huggingface",
    "image-zip",
    "image-folder",
    "latents",
    "webdataset",
)  # every image was decoded once already: no need to keep them
CHUNK = 256  # images
SHOWN = 20  # classes
DIGITS = "digits"  # in place of a path: images that come along


def add(parser: ArgumentParser) -> None:
    """Add the actions pack, stats and check."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    pack = actions.add_parser("pack", help="write a zip of images of one size, in the layout of EDM")
    pack.add_argument("source", type=Path, metavar="SRC", help="a folder, .zip, .npz, CIFAR-10's .tar.gz, or digits")
    pack.add_argument("out", type=Path, metavar="OUT.zip", help="must not exist")
    pack.add_argument("--resolution", type=arguments.size, metavar="N|WxH",
                      help="resize by Lanczos (default: leave as it is)")  # fmt: skip
    pack.add_argument("--transform", choices=("center-crop", "center-crop-wide", "center-crop-dhariwal"),
                      help="before it is resized; the last: ImageNet's for EDM2")  # fmt: skip
    pack.add_argument("--labels", choices=("auto", "none"), default="auto",
                      help="auto: of dataset.json, else the top-level folders in alphabetical order")  # fmt: skip
    pack.add_argument("--orientation", choices=("exif", "stored"),
                      help="how cameras were held: obey EXIF (default), or leave it as EDM's tool does")  # fmt: skip
    pack.add_argument("--skip-damaged", action="store_true", help="leave out what cannot be read, and name it")
    pack.add_argument("--vae", metavar="FILE", help="write latents of this autoencoder instead, as EDM2 does")
    pack.add_argument("--signed-pixels", action="store_true",
                      help="give it pixels in [-1,1], as diffusers, DiT and SiT do; EDM2: [0,1]")  # fmt: skip
    pack.add_argument("--class-names", type=_names, metavar="A,B,...", help="names of the classes, in their order")
    pack.add_argument("--captions", metavar="TEXT", help='captions made of classes, such as "a small {class}"')
    pack.add_argument("--text-encoder", type=Path, metavar="FOLDER",
                      help="embed each caption once, by an encoder of transformers in this folder")  # fmt: skip
    pack.add_argument("--tokens", type=arguments.whole(1, 512), metavar="N",
                      help="of a caption (as many as the longest has)")  # fmt: skip
    pack.add_argument("--text-dtype", choices=("fp16", "fp32"), default="fp16", help="of what it makes (%(default)s)")
    pack.add_argument("--device", default="auto", metavar="NAME", help="the networks': cpu, cuda (%(default)s)")
    stats = actions.add_parser("stats", help="write mean and covariance of features, a reference for fid")
    stats.add_argument("path", type=Path, metavar="PATH", help="a folder, a .zip, a .npz, or CIFAR-10's .tar.gz")
    stats.add_argument("out", type=Path, metavar="OUT.npz", help="must not exist")
    stats.add_argument("--features", default="inception", metavar="NAME", help="as in a recipe (%(default)s)")
    stats.add_argument("--network", type=Path, metavar="FILE", help="its key `network`: a TorchScript file")
    stats.add_argument("--device", default="auto", metavar="NAME", help="the network's: cpu, cuda (%(default)s)")
    check = actions.add_parser("check", help="read every image of a data set and say what it holds")
    check.add_argument("path", type=Path, metavar="PATH", help="a folder, a .zip, a .npz, or CIFAR-10's .tar.gz")
    check.add_argument("--latents", action="store_true", help="a folder or .zip of latents")


def main(args: Namespace) -> int:
    """Pack, check or measure -> exit code."""
    return {"pack": _pack, "check": _check, "stats": _stats}[args.action](args)


def dataset_name(path: Path) -> str:
    """Name the dataset that reads what is at `path`. Raises InputError, UsageError."""
    if not path.exists():
        found = get_close_matches(path.name, [one.name for one in islice(path.parent.glob("*"), MANY)], n=1)
        meant = f"did you mean {found[0]!r}?" if found else f"there is none of that name in {path.parent.absolute()}"
        raise InputError(f"{path}: no such file or folder; {meant}")
    if path.is_dir():
        return next(
            (name for name, files in FOLDERS.items() if any(any(path.glob(one)) for one in files)), "image-folder"
        )
    for suffix, name in NAMES.items():
        if path.name.lower().endswith(suffix):
            return name
    raise UsageError(f"{path}: no folder, and its name ends with none of {', '.join(NAMES)}")


def _part(kind: str, **table: object) -> Any:
    """Build a component by the keys of its table in a recipe. Raises UsageError."""
    from distillkit.recipe import choice_from_table
    from distillkit.registry import Catalog

    try:
        return choice_from_table(kind, table, Catalog.installed(), "distillkit data").build()
    except InputError as error:
        raise UsageError(str(error)) from error


def _dataset(path: Path, **keys: object) -> Dataset:
    dataset: Dataset = _part("dataset", use=dataset_name(path), path=str(path), **keys)
    return dataset


def _names(text: str) -> list[str]:
    """Read names of classes: "cat,dog" -> ["cat", "dog"]."""
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) < len(names) or not all(name and name.isprintable() for name in names):
        raise ArgumentTypeError(f"names of classes are like cat,dog, each once: {text[:64]!r}")
    return names


def _pack(args: Namespace) -> int:
    from distillkit.device import pick_device
    from distillkit.images.captions import captioned, folder_of
    from distillkit.images.pack import pack

    turned = {} if args.orientation is None else {"orientation": args.orientation}
    if str(args.source) == DIGITS and not args.source.exists():
        dataset = _part("dataset", use=DIGITS, conditional=args.labels == "auto")
    else:
        dataset = _dataset(args.source, labels=args.labels == "auto", **turned)
    encode = args.vae and _encoder(args.vae, args.device, args.signed_pixels)
    pictures = dataset.pictures(Path.cwd())
    names = args.class_names or dataset.class_names
    if args.captions is not None:
        if "{class}" not in args.captions:
            raise UsageError(f"--captions {args.captions!r} has to hold {{class}}, in whose place the class stands")
        pictures = captioned(pictures, args.captions, names)
    words = None
    if args.text_encoder is not None:
        device = pick_device(args.device, "--device")
        words = folder_of(args.text_encoder, args.tokens, args.text_dtype, str(device))
    elif args.tokens:
        raise UsageError("--tokens is for captions that are embedded: --text-encoder FOLDER is missing")
    packed = pack(
        pictures, args.out, args.resolution, args.transform, encode or None,
        class_names=args.class_names or dataset.class_names, skip_damaged=args.skip_damaged, words=words,
    )  # fmt: skip
    if packed.left_out:
        print(f"{packed.left_out} images are too small and were left out")
    for fault in packed.damaged:
        print(f"left out: {fault}")
    height, width, channels = packed.shape
    labels = "with labels" if packed.labels else "without labels"
    of = "latents of images" if encode else "images"
    if packed.captions:
        labels += f", {packed.captions} captions" + (", embedded" if words else "")
    print(f"{args.out}: {packed.images} {of}, {width}x{height}x{channels}, {labels}")
    return 0


def _encoder(vae: str, device: str, signed: bool) -> Any:
    """Load what makes latents of an image; `vae`: an autoencoder's path, or the name of an asset. Raises InputError."""
    from distillkit.assets.folder import folder
    from distillkit.assets.locate import located
    from distillkit.device import pick_device

    latents = _part("dataset", use="latents", path="images", vae=located(vae, folder()), signed_pixels=signed)
    latents.require()
    return partial(latents.encode, device=pick_device(device, "--device"))


def _check(args: Namespace) -> int:
    """Read every image and label of a data set; all that cannot be used is told at once."""
    import torch

    use = "latents" if args.latents else dataset_name(args.path)
    keys = {"memory": "file"} if use in IN_FILES else {}
    dataset = _part("dataset", use=use, path=str(args.path), **keys)
    faults = list(dataset.faults(Path.cwd()))
    if faults:
        raise InputError.listing(faults)
    dataset.open(Path.cwd())
    size = f"{dataset.resolution}x{dataset.resolution}x{dataset.channels}"
    for name, part in (("images", dataset), ("held-out images", dataset.held_out())):
        if part is None:
            continue
        counts: Counter[int] = Counter()
        for index in torch.arange(len(part)).split(CHUNK):
            counts.update(_classes(part.labels(index)))
        print(f"{args.path}: {len(part)} {name}, {size}, {_labels(part, counts)}")
    return 0


def _stats(args: Namespace) -> int:
    """Write mean and covariance of a network's features, which `fid` takes as its `reference`."""
    import numpy as np

    from distillkit.assets.folder import cache
    from distillkit.device import pick_device
    from distillkit.disk.files import write_atomic
    from distillkit.images.moments import moments

    if args.out.exists() or not args.out.parent.is_dir():
        raise UsageError(f"{args.out} exists already, or its folder does not; choose another name")
    if args.features == "inception" and args.network is None:
        known = "distillkit assets get inception-2015-12-05.pt"
        raise UsageError(f"--network FILE is missing: the TorchScript file of --features inception; {known}")
    network = {"network": str(args.network)} if args.network else {}
    dataset, features = _dataset(args.path), _part("features", use=args.features, **network)
    dataset.open(Path.cwd())
    features.prepare(dataset, dataset.held_out(), cache())
    mu, sigma = moments(features, dataset, CHUNK, pick_device(args.device, "--device"))
    file = BytesIO()
    np.savez(file, mu=mu, sigma=sigma)
    write_atomic(args.out, file.getvalue())
    print(f"{args.out}: mu and sigma of {len(mu)} features of {len(dataset)} images")
    return 0


def _classes(labels: Tensor | None) -> list[int]:
    """Find the class of each image; [] where labels are not one-hot."""
    if labels is None or not bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()):
        return []
    return labels.argmax(1).tolist()


def _labels(dataset: Dataset, counts: Counter[int]) -> str:
    if not dataset.label_dim:
        return "no labels"
    if dataset.layout.has_words:
        return f"captions as labels of {dataset.label_dim} numbers: {dataset.layout.tokens} tokens"
    if counts.total() != len(dataset):
        return f"labels of {dataset.label_dim} numbers"
    names = dataset.class_names or range(dataset.label_dim)
    shown = [f"{name} {counts[i]}" for i, name in enumerate(names)][:SHOWN]
    more = f", and {dataset.label_dim - SHOWN} more" if dataset.label_dim > SHOWN else ""
    return f"{dataset.label_dim} classes: {', '.join(shown)}{more}"
